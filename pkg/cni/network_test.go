package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// newNetwork returns a network whose state is removed, and compared with the
// state before, when the test ends.
func newNetwork(t *testing.T, change ...func(*Options)) *Network {
	t.Helper()
	dir := t.TempDir()
	opts := Options{
		Name:     "carob-test0001",
		ConfDir:  filepath.Join(dir, "conf"),
		StateDir: filepath.Join(dir, "state"),
	}
	for _, c := range change {
		c(&opts)
	}
	before := hostState(t, opts.StateDir)
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Remove(context.Background()); err != nil {
			t.Errorf("Remove: %v", err)
		}
		// The kernel removes the devices of a dead namespace in its own time.
		var diff string
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
			if diff = cmp.Diff(before, hostState(t, opts.StateDir)); diff == "" {
				return
			}
		}
		t.Errorf("left behind (-before +after):\n%s", diff)
	})
	return n
}

func attach(t *testing.T, n *Network, req Request) netip.Addr {
	t.Helper()
	res, err := n.Attach(t.Context(), req)
	if err != nil {
		t.Fatalf("Attach %s: %v", req.ID, err)
	}
	if len(res.IPs) != 1 {
		t.Fatalf("Attach %s: IPs %v, want one", req.ID, res.IPs)
	}
	return res.IPs[0]
}

// serve answers every TCP connection in the namespace with the peer's address.
func serve(t *testing.T, ns string, port int) {
	t.Helper()
	var l net.Listener
	inNetNS(t, ns, func() (err error) {
		l, err = net.Listen("tcp4", ":"+strconv.Itoa(port))
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().String())
			_ = c.Close()
		}
	}()
}

// dial returns what the server at addr sees as its peer.
func dial(addr string) (string, error) {
	// The socket belongs to the calling thread's namespace; net.Dialer makes
	// it there for a literal address.
	c, err := net.DialTimeout("tcp4", addr, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	host, _, err := net.SplitHostPort(string(b))
	return host, err
}

func TestNamespacesReachEachOther(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	a, b := newNetNS(t), newNetNS(t)
	ipA := attach(t, n, Request{ID: "a", NetNS: a})
	ipB := attach(t, n, Request{ID: "b", NetNS: b})
	if ipA == ipB || !n.CIDR().Contains(ipA) || !n.CIDR().Contains(ipB) {
		t.Fatalf("IPs %s and %s of %s", ipA, ipB, n.CIDR())
	}
	serve(t, a, 8080)
	inNetNS(t, b, func() error {
		peer, err := dial(ipA.String() + ":8080")
		if err == nil && peer != ipB.String() {
			err = fmt.Errorf("peer is %s, want %s", peer, ipB)
		}
		return err
	})
	if peer, err := dial(ipA.String() + ":8080"); err != nil || peer != gateway(n.CIDR()).String() {
		t.Errorf("from the host: peer %s, %v", peer, err)
	}
	for _, id := range []string{"a", "b"} {
		if err := n.Check(t.Context(), id); err != nil {
			t.Errorf("Check %s: %v", id, err)
		}
	}
	again := attach(t, n, Request{ID: "a", NetNS: a})
	if again != ipA {
		t.Errorf("attached again: %s, want %s", again, ipA)
	}
	for range 2 {
		if err := n.Detach(t.Context(), "a"); err != nil {
			t.Errorf("Detach: %v", err)
		}
	}
	if err := n.Check(t.Context(), "a"); !errors.Is(err, ErrRequest) {
		t.Errorf("Check after Detach: %v", err)
	}
}

func TestHostPorts(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	a, b := newNetNS(t), newNetNS(t)
	ipA := attach(t, n, Request{ID: "a", NetNS: a, Ports: []PortMapping{
		{Protocol: "TCP", HostPort: 18080, ContainerPort: 80},
		{Protocol: "tcp", HostPort: 18081, ContainerPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")},
	}})
	attach(t, n, Request{ID: "b", NetNS: b})
	serve(t, a, 80)
	gw := gateway(n.CIDR()).String()

	for _, addr := range []string{"127.0.0.1:18080", "198.51.100.7:18080", gw + ":18080", "127.0.0.1:18081"} {
		if _, err := dial(addr); err != nil {
			t.Errorf("from the host: %v", err)
		}
	}
	if _, err := dial("198.51.100.7:18081"); err == nil {
		t.Error("a port of 127.0.0.1 answers at another address")
	}
	for _, ns := range []string{a, b} {
		inNetNS(t, ns, func() error {
			_, err := dial("198.51.100.7:18080")
			return err
		})
	}
	outside(t, func() error {
		peer, err := dial("203.0.113.1:18080")
		if err == nil && peer != "203.0.113.2" {
			err = fmt.Errorf("the pod sees %s, not the other machine", peer)
		}
		return err
	})

	_, err := n.Attach(t.Context(), Request{ID: "c", NetNS: newNetNS(t), Ports: []PortMapping{{Protocol: "tcp", HostPort: 18080, ContainerPort: 80}}})
	if !errors.Is(err, ErrPortInUse) {
		t.Errorf("the same port again: %v", err)
	}
	restarted, err := New(n.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := restarted.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := dial("127.0.0.1:18080"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := restarted.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := dial("127.0.0.1:18080"); err == nil {
		t.Error("the port answers after Detach")
	}
	if _, err := dial(ipA.String() + ":80"); err == nil {
		t.Error("the pod answers after Detach")
	}
}

// outside runs f in a namespace that is another machine: 203.0.113.2 beside
// the host's 203.0.113.1.
func outside(t *testing.T, f func() error) {
	t.Helper()
	ns := newNetNS(t)
	out := run(t, "ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1")
	_ = out
	t.Cleanup(func() { run(t, "ip", "link", "del", "out0") })
	run(t, "ip", "addr", "add", "203.0.113.1/24", "dev", "out0")
	run(t, "ip", "link", "set", "out0", "up")
	moveLink(t, "out1", ns)
	inNetNS(t, ns, func() error {
		if err := addrUp("out1", "203.0.113.2/24"); err != nil {
			return err
		}
		return f()
	})
}

func TestMasquerade(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	pod := newNetNS(t)
	attach(t, n, Request{ID: "a", NetNS: pod})
	peers := make(chan string, 1)
	outside(t, func() error {
		l, err := net.Listen("tcp4", ":9000")
		if err != nil {
			return err
		}
		go func() {
			c, err := l.Accept()
			if err == nil {
				peers <- c.RemoteAddr().String()
				_ = c.Close()
			}
			_ = l.Close()
		}()
		inNetNS(t, pod, func() error {
			c, err := net.DialTimeout("tcp4", "203.0.113.2:9000", 3*time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err
		})
		return nil
	})
	host, _, _ := net.SplitHostPort(<-peers)
	if host != "203.0.113.1" {
		t.Errorf("another machine sees %s, want the host's address", host)
	}
}

// A pod must not reach what the host serves to itself.
func TestLoopbackOfHostIsClosed(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	pod := newNetNS(t)
	attach(t, n, Request{ID: "a", NetNS: pod})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	gw := gateway(n.CIDR()).String()
	inNetNS(t, pod, func() error {
		if err := writeSysctl("net/ipv4/conf/eth0/route_localnet", "1"); err != nil {
			return err
		}
		if err := delLoopbackRoutes(gw); err != nil {
			return err
		}
		c, err := net.DialTimeout("tcp4", l.Addr().String(), time.Second)
		if err == nil {
			_ = c.Close()
			return errors.New("the host's loopback service answers a pod")
		}
		return nil
	})
}

func TestDetachWithoutNamespace(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	for name, lose := range map[string]func(string) error{
		"unmounted": func(p string) error { return unix.Unmount(p, unix.MNT_DETACH) },
		"no file": func(p string) error {
			return errors.Join(unix.Unmount(p, unix.MNT_DETACH), os.Remove(p))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := newNetNS(t)
			attach(t, n, Request{ID: "gone", NetNS: ns, Ports: []PortMapping{{Protocol: "udp", HostPort: 18090, ContainerPort: 53}}})
			if err := lose(ns); err != nil {
				t.Fatal(err)
			}
			if err := n.Detach(t.Context(), "gone"); err != nil {
				t.Fatal(err)
			}
			if n.reserved("gone") {
				t.Error("the address is still reserved")
			}
		})
	}
}

func TestDetachWithoutRecord(t *testing.T) {
	hostUp(t)
	for _, lost := range []string{"attachments", "cache"} {
		t.Run(lost, func(t *testing.T) {
			n := newNetwork(t)
			attach(t, n, Request{ID: "a", NetNS: newNetNS(t)})
			if err := os.RemoveAll(filepath.Join(n.opts.StateDir, lost)); err != nil {
				t.Fatal(err)
			}
			if err := n.Detach(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			if n.reserved("a") {
				t.Error("the address is still reserved")
			}
		})
	}
	t.Run("both, and a broken record", func(t *testing.T) {
		n := newNetwork(t)
		attach(t, n, Request{ID: "a", NetNS: newNetNS(t)})
		if err := os.RemoveAll(filepath.Join(n.opts.StateDir, "cache")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.records.path("a"), []byte(`{"id":`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.Detach(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if n.reserved("a") {
			t.Error("the address is still reserved")
		}
	})
}

func TestGC(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	for _, id := range []string{"keep", "drop1", "drop2"} {
		attach(t, n, Request{ID: id, NetNS: newNetNS(t)})
	}
	if err := os.RemoveAll(n.records.path("drop2")); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(n.ipamDir(), n.opts.Name, n.CIDR().Addr().Next().Next().Next().Next().Next().Next().String())
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nft", "flush", "ruleset")
	if err := n.GC(t.Context(), func(id string) bool { return id == "keep" }); err != nil {
		t.Fatal(err)
	}
	all, err := n.reservations()
	if err != nil || len(all) != 1 {
		t.Errorf("reservations %v, %v; want one", all, err)
	}
	ids, err := n.known()
	if diff := cmp.Diff([]string{"keep"}, ids); diff != "" || err != nil {
		t.Errorf("known after GC (-want +got): %s %v", diff, err)
	}
	run(t, "nft", "list", "table", "ip", n.opts.Name)
}

func TestFailedAddIsUndone(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	ns := newNetNS(t)
	inNetNS(t, ns, func() error { return addLink("eth0") })
	_, err := n.Attach(t.Context(), Request{ID: "a", NetNS: ns})
	if err == nil {
		t.Fatal("Attach succeeds although the interface exists")
	}
	if ids, err := n.known(); len(ids) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", ids, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Attach(ctx, Request{ID: "b", NetNS: newNetNS(t)}); err == nil {
		t.Error("Attach succeeds with a cancelled context")
	}
	if ids, err := n.known(); len(ids) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", ids, err)
	}
}

func TestParallel(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	const count = 20
	var ips [count]netip.Addr
	var errs [count]error
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range count {
		req := Request{ID: fmt.Sprintf("pod-%d", i), NetNS: newNetNS(t), Ports: []PortMapping{
			{Protocol: "tcp", HostPort: uint16(19000 + i), ContainerPort: 80},
		}}
		wg.Go(func() {
			res, err := n.Attach(t.Context(), req)
			errs[i] = err
			if err == nil {
				ips[i] = res.IPs[0]
			}
		})
	}
	wg.Wait()
	t.Logf("%d attached in %s", count, time.Since(begin))
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]int{}
	for i, ip := range ips {
		if other, twice := seen[ip]; twice {
			t.Errorf("%d and %d both have %s", i, other, ip)
		}
		seen[ip] = i
	}
	begin = time.Now()
	for i := range count {
		wg.Go(func() { errs[i] = n.Detach(t.Context(), fmt.Sprintf("pod-%d", i)) })
	}
	wg.Wait()
	t.Logf("%d detached in %s", count, time.Since(begin))
	if err := errors.Join(errs[:]...); err != nil {
		t.Error(err)
	}
}

func TestUserConf(t *testing.T) {
	hostUp(t)
	conf := t.TempDir()
	n := newNetwork(t, func(o *Options) { o.ConfDir = conf })
	file := filepath.Join(conf, "10-mine.conflist")
	const forwarding = "/proc/sys/net/ipv4/ip_forward"
	forwards, err := os.ReadFile(forwarding)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ns := newNetNS(t)
	ports := []PortMapping{{Protocol: "tcp", HostPort: 18080, ContainerPort: 80}}

	write(`{"name": "mine", "plugins": [`)
	for _, err := range []error{n.Status(t.Context()), second(n.Attach(t.Context(), Request{ID: "a", NetNS: ns}))} {
		if !errors.Is(err, ErrConfig) || !bytes.Contains([]byte(err.Error()), []byte(file)) {
			t.Errorf("broken file: %v", err)
		}
	}
	write(`{"cniVersion":"0.4.0","name":"mine","plugins":[{"type":"no-such-plugin"}]}`)
	if err := n.Status(t.Context()); !errors.Is(err, ErrConfig) {
		t.Errorf("missing plugin: %v", err)
	}
	const chain = `{"cniVersion":"0.4.0","name":"mine","plugins":[{"type":"ptp","ipam":{"type":"host-local","dataDir":%q,"subnet":"10.77.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}}%s]}`
	ipam := filepath.Join(t.TempDir(), "ipam")
	write(fmt.Sprintf(chain, ipam, ""))
	if err := second(n.Attach(t.Context(), Request{ID: "a", NetNS: ns, Ports: ports})); !errors.Is(err, ErrConfig) {
		t.Errorf("no plugin for host ports: %v", err)
	}
	write(fmt.Sprintf(chain, ipam, `,{"type":"portmap","capabilities":{"portMappings":true}}`))
	attach(t, n, Request{ID: "a", NetNS: ns, Ports: ports})
	serve(t, ns, 80)
	if _, err := dial("198.51.100.7:18080"); err != nil {
		t.Errorf("portmap: %v", err)
	}
	// The attachment goes by the configuration it was made with.
	write(`{"cniVersion":"0.4.0","name":"other","plugins":[{"type":"no-such-plugin"}]}`)
	if err := n.Detach(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(ipam, "mine", "10.77.0.2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the address is still reserved: %v", err)
	}
	// What the plugin sets for the whole machine stays by design; the comparison
	// is about what is ours.
	if err := os.WriteFile(forwarding, forwards, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "nft", "flush", "ruleset")
	for _, table := range []string{"nat", "filter"} {
		_ = runQuiet("nft", "delete", "table", "ip", table)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTimes(t *testing.T) {
	hostUp(t)
	n := newNetwork(t)
	if err := n.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ports := range []int{0, 1} {
		ns := newNetNS(t)
		var add, del time.Duration
		const rounds = 5
		for range rounds {
			req := Request{ID: "a", NetNS: ns}
			for i := range ports {
				req.Ports = append(req.Ports, PortMapping{Protocol: "tcp", HostPort: uint16(18080 + i), ContainerPort: 80})
			}
			begin := time.Now()
			attach(t, n, req)
			add += time.Since(begin)
			begin = time.Now()
			if err := n.Detach(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			del += time.Since(begin)
		}
		t.Logf("%d host ports: attach %s, detach %s", ports, add/rounds, del/rounds)
	}
}
