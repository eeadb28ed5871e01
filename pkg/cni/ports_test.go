package cni

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/hostport"
)

// fakeTable is a table in memory that can fail.
type fakeTable struct {
	have map[hostport.Key]hostport.Mapping
	fail bool
}

var errFake = errors.New("scripted failure")

func (f *fakeTable) Sync(_ context.Context, _ netip.Prefix, mappings []hostport.Mapping) error {
	if f.fail {
		return errFake
	}
	f.have = map[hostport.Key]hostport.Mapping{}
	return f.Add(context.Background(), mappings...)
}

func (f *fakeTable) Add(_ context.Context, mappings ...hostport.Mapping) error {
	if f.fail {
		return errFake
	}
	for _, m := range mappings {
		f.have[m.Key()] = m
	}
	return nil
}

func (f *fakeTable) Delete(_ context.Context, mappings ...hostport.Mapping) error {
	if f.fail {
		return errFake
	}
	for _, m := range mappings {
		delete(f.have, m.Key())
	}
	return nil
}

func (f *fakeTable) Remove(context.Context) error { return nil }

// Whatever fails in whatever order: a port has one owner, and once every
// release has succeeded the table and the book are empty.
func TestPortBookProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &fakeTable{have: map[hostport.Key]hostport.Mapping{}}
		b := newPortBook(table)
		ids := []string{"a", "b", "c"}
		addr := map[string]netip.Addr{}
		for i, id := range ids {
			addr[id] = netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 2)})
		}
		holds := map[hostport.Key]string{}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			id := rapid.SampledFrom(ids).Draw(t, "id")
			table.fail = rapid.Bool().Draw(t, "fail")
			if rapid.Bool().Draw(t, "release") {
				if b.release(t.Context(), id) == nil {
					for k, owner := range holds {
						if owner == id {
							delete(holds, k)
						}
					}
				}
				continue
			}
			r := &record{ID: id, Own: true, Attached: true, IPs: []netip.Addr{addr[id]}, Ports: []PortMapping{{
				Protocol: "tcp", HostPort: rapid.Uint16Range(1, 3).Draw(t, "port"), ContainerPort: 80,
			}}}
			key := r.keys()[0]
			err := b.reserve(id, r.keys())
			if owner, taken := holds[key]; taken && owner != id {
				if !errors.Is(err, ErrPortInUse) {
					t.Fatalf("%s of %s reserved for %s: %v", key, owner, id, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("reserve: %v", err)
			}
			holds[key] = id
			_ = b.activate(t.Context(), id, r.mappings())
		}
		table.fail = false
		if err := b.sync(t.Context(), netip.Prefix{}); err != nil {
			t.Fatal(err)
		}
		for k, m := range table.have {
			if m.PodIP != addr[holds[k]] {
				t.Fatalf("%s leads to %s, not to its owner %s", k, m.PodIP, holds[k])
			}
		}
		for _, id := range ids {
			if err := b.release(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([3]int{}, [3]int{len(table.have), len(b.owners), len(b.active)}); diff != "" {
			t.Fatalf("left: %s", diff)
		}
	})
}

func TestReserveIsAllOrNothing(t *testing.T) {
	b := newPortBook(&fakeTable{})
	key := func(port uint16) hostport.Key { return hostport.Key{Protocol: "tcp", HostPort: port} }
	if err := b.reserve("a", []hostport.Key{key(2)}); err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]hostport.Key{{key(1), key(2)}, {key(1), key(1)}} {
		if err := b.reserve("b", keys); !errors.Is(err, ErrPortInUse) {
			t.Errorf("%v: %v", keys, err)
		}
	}
	want := map[hostport.Key]string{key(2): "a"}
	if diff := cmp.Diff(want, b.owners, cmpopts.EquateComparable(hostport.Key{})); diff != "" {
		t.Error(diff)
	}
}
