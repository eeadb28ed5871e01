package hostport

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/knftables"
)

var pods = netip.MustParsePrefix("10.1.0.0/24")

func mapping(protocol, host string, port uint16) Mapping {
	m := Mapping{Protocol: protocol, HostPort: port, PodIP: netip.MustParseAddr("10.1.0.2"), PodPort: 80}
	if host != "" {
		m.HostIP = netip.MustParseAddr(host)
	}
	return m
}

func TestValidate(t *testing.T) {
	for _, m := range []Mapping{mapping("TCP", "", 80), mapping("udp", "0.0.0.0", 1), mapping("sctp", "127.0.0.1", 65535), mapping("tcp", "::ffff:10.0.0.1", 1)} {
		if err := m.Validate(); err != nil {
			t.Errorf("%v: %v", m, err)
		}
	}
	noPod := mapping("tcp", "", 80)
	noPod.PodIP = netip.Addr{}
	for _, m := range []Mapping{mapping("icmp", "", 80), mapping("tcp", "", 0), mapping("tcp", "::1", 80), noPod, {}} {
		if err := m.Validate(); !errors.Is(err, ErrMapping) {
			t.Errorf("%v: %v", m, err)
		}
	}
	if mapping("TCP", "0.0.0.0", 80).Key() != mapping("tcp", "", 80).Key() {
		t.Error("0.0.0.0 is not the same as no address")
	}
}

func TestTableOnFake(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, "carob-1")
	table := New("carob-1", "carob-1")
	table.nft = fake
	one, two := mapping("tcp", "", 80), mapping("udp", "127.0.0.1", 53)
	if err := table.Sync(t.Context(), pods, []Mapping{one}); err != nil {
		t.Fatal(err)
	}
	if err := table.Add(t.Context(), two, one); err != nil {
		t.Fatal(err)
	}
	dump := fake.Dump()
	for _, want := range []string{
		"add element ip carob-1 ports { tcp . 80 : 10.1.0.2 . 80 }",
		"add element ip carob-1 address-ports { udp . 127.0.0.1 . 53 : 10.1.0.2 . 80 }",
		"ip saddr 10.1.0.0/24",
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("no %q in\n%s", want, dump)
		}
	}
	for range 2 {
		if err := table.Delete(t.Context(), two); err != nil {
			t.Fatal(err)
		}
	}
	if dump := fake.Dump(); strings.Contains(dump, "127.0.0.1 . 53") {
		t.Errorf("not deleted:\n%s", dump)
	}
	for range 2 {
		if err := table.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if dump := fake.Dump(); dump != "" {
		t.Errorf("left after Remove:\n%s", dump)
	}
	if err := table.Delete(t.Context(), one); err != nil {
		t.Errorf("Delete without a table: %v", err)
	}
}

func TestForwardDrops(t *testing.T) {
	got, err := forwardDrops([]byte(`{"nftables":[{"metainfo":{"version":"1"}},
		{"chain":{"family":"ip","table":"filter","name":"FORWARD","type":"filter","hook":"forward","prio":0,"policy":"drop"}},
		{"chain":{"family":"ip6","table":"filter","name":"FORWARD","hook":"forward","policy":"drop"}},
		{"chain":{"family":"ip","table":"filter","name":"INPUT","hook":"input","policy":"drop"}},
		{"chain":{"family":"inet","table":"fw","name":"fwd","hook":"forward","policy":"accept"}},
		{"chain":{"family":"ip","table":"filter","name":"DOCKER"}}]}`))
	if diff := cmp.Diff([]string{"ip filter FORWARD"}, got); diff != "" || err != nil {
		t.Errorf("%s %v", diff, err)
	}
}

func FuzzForwardDrops(f *testing.F) {
	f.Add([]byte(`{"nftables":[{"chain":{"hook":"forward","policy":"drop","family":"ip"}}]}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = forwardDrops(data)
	})
}
