package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"

	"github.com/carob-project/carob/pkg/hostport"
)

// restart returns the network as a new process finds it.
func restart(t *testing.T, n *Network) *Network {
	t.Helper()
	again, err := New(n.opts)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// A process that ended between ADD and its record, or before ADD.
func TestAttachAfterCrash(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	ns := newNetNS(t)
	req := Request{ID: "a", NetNS: ns, Ports: []PortMapping{{Protocol: "tcp", HostPort: 18100, ContainerPort: 80}}}
	attach(t, n, req)
	r, err := n.records.read("a")
	if err != nil {
		t.Fatal(err)
	}
	r.Attached, r.IPs = false, nil
	if err := n.records.write(r); err != nil {
		t.Fatal(err)
	}
	n2 := restart(t, n)
	ip := attach(t, n2, req)
	all, err := n2.reservations()
	if len(all) != 1 || err != nil {
		t.Errorf("reservations %v, %v; want one", all, err)
	}
	serve(t, ns, 80)
	if _, err := dial("127.0.0.1:18100"); err != nil {
		t.Errorf("host port: %v", err)
	}
	// The same ID with another namespace: the pod's sandbox was made anew.
	other := newNetNS(t)
	req.NetNS = other
	moved := attach(t, restart(t, n2), req)
	if moved == ip {
		t.Logf("the address was given again: %s", ip)
	}
	serve(t, other, 80)
	if _, err := dial("127.0.0.1:18100"); err != nil {
		t.Errorf("host port of the new namespace: %v", err)
	}
}

// Attaches that are cut off at any instant leave nothing.
func TestAttachCutOff(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	if err := n.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range 12 {
		id := fmt.Sprintf("a%d", i)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2*i+1)*time.Millisecond)
		_, err := n.Attach(ctx, Request{ID: id, NetNS: newNetNS(t), Ports: []PortMapping{{Protocol: "tcp", HostPort: 18100, ContainerPort: 80}}})
		cancel()
		if err == nil {
			if err := n.Detach(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			continue
		}
		failed++
		if ids, err := n.known(); len(ids) != 0 || err != nil {
			t.Errorf("cut off after %d ms: left %v, %v", 2*i+1, ids, err)
		}
	}
	t.Logf("%d of 12 were cut off", failed)
}

// The last of two instances restores what the first has found.
func TestTwoInstancesShareForwarding(t *testing.T) {
	hostUp(t)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	forward := func(want string) {
		t.Helper()
		if got, err := readSysctl(ipForward); got != want || err != nil {
			t.Errorf("ip_forward is %s, want %s; %v", got, want, err)
		}
	}
	first := newNetwork(t)
	second := newNetwork(t, func(o *Options) { o.Name = "carob-test0002" })
	for _, n := range []*Network{first, second} {
		if err := n.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if first.CIDR().Overlaps(second.CIDR()) {
		t.Errorf("%s and %s overlap", first.CIDR(), second.CIDR())
	}
	forward("1")
	if err := first.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	forward("1")
	if err := second.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	forward("0")
}

// Instances that come and go at the same time hand the original value on.
func TestForwardingOutlivesComingAndGoing(t *testing.T) {
	hostUp(t)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := newNetwork(t)
	second := newNetwork(t, func(o *Options) { o.Name = "carob-test0002" })
	var group errgroup.Group
	for _, n := range []*Network{first, second} {
		group.Go(func() error {
			for range 10 {
				if err := n.Prepare(t.Context()); err != nil {
					return err
				}
				if err := n.Remove(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, err := readSysctl(ipForward); got != "0" || err != nil {
		t.Errorf("ip_forward is %s, want 0; %v", got, err)
	}
}

func TestPodCIDRChanges(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	attach(t, n, Request{ID: "a", NetNS: newNetNS(t)})
	changed := n.opts
	changed.PodCIDR = netip.MustParsePrefix("10.123.0.0/24")
	n2, err := New(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := n2.Prepare(t.Context()); !errors.Is(err, ErrCIDR) {
		t.Errorf("with an attachment: %v", err)
	}
	if err := n2.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := n2.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ip := attach(t, n2, Request{ID: "b", NetNS: newNetNS(t)}); !changed.PodCIDR.Contains(ip) {
		t.Errorf("address %s of %s", ip, changed.PodCIDR)
	}
	if err := n2.Detach(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	changed.PodCIDR = netip.MustParsePrefix("198.51.100.0/25") // the host's own network
	n3, err := New(changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := n3.Prepare(t.Context()); !errors.Is(err, ErrCIDR) {
		t.Errorf("a CIDR of the host's network: %v", err)
	}
}

func TestRequests(t *testing.T) {
	n := newNetwork(t)
	for _, req := range []Request{{}, {ID: "../a", NetNS: "/proc/self/ns/net"}, {ID: "a", NetNS: "/nowhere"}, {ID: "a", NetNS: "/etc/hostname"}} {
		if _, err := n.Attach(t.Context(), req); !errors.Is(err, ErrRequest) {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if err := n.Detach(t.Context(), "../a"); !errors.Is(err, ErrRequest) {
		t.Errorf("Detach: %v", err)
	}
	if err := n.Detach(t.Context(), "unknown"); err != nil {
		t.Errorf("Detach of what was never attached: %v", err)
	}
}

func TestRecordSurvivesTheDisk(t *testing.T) {
	s := store{dir: t.TempDir()}
	list, err := ownConf("carob-1", "/run/ipam", netip.MustParsePrefix("10.1.0.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := flatten(list)
	if err != nil {
		t.Fatal(err)
	}
	want := &record{
		ID: "a", NetNS: "/n", IfName: "eth0", Inode: "1:2", Network: "carob-1", Config: config, Own: true,
		Args: [][2]string{{"k", "v"}}, Capabilities: map[string]any{"cgroupPath": "/x"}, Attached: true,
		Ports: []PortMapping{
			{Protocol: "tcp", HostPort: 1, ContainerPort: 2, HostIP: netip.MustParseAddr("127.0.0.1")},
			{Protocol: "udp", HostPort: 3, ContainerPort: 4},
		},
		IPs: []netip.Addr{netip.MustParseAddr("10.1.0.2")},
	}
	if err := s.write(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.read("a")
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// A port that has got a new owner survives the late release of the old one.
func TestLateRelease(t *testing.T) {
	n := newNetwork(t)
	if err := n.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := func(port uint16, pod string) hostport.Mapping {
		return hostport.Mapping{Protocol: "tcp", HostPort: port, PodIP: netip.MustParseAddr(pod), PodPort: 80}
	}
	if err := n.table.Add(t.Context(), m(1, "10.0.0.2"), m(2, "10.0.0.3")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.table.Delete(t.Context(), m(1, "10.0.0.2"), m(2, "10.0.0.2"), m(3, "10.0.0.2")); err != nil {
			t.Fatal(err)
		}
	}
	got := run(t, "nft", "list", "map", "ip", n.opts.Name, "ports")
	if !strings.Contains(got, "10.0.0.3") || strings.Contains(got, "10.0.0.2") {
		t.Errorf("map after the deletion:\n%s", got)
	}
}
