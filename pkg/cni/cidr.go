package cni

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Errors about pod CIDRs.
var (
	// ErrCIDR: the pod CIDR cannot be used as it is given.
	ErrCIDR = errors.New("unusable pod CIDR")
	// ErrNoCIDR: every candidate overlaps a route of the host.
	ErrNoCIDR = errors.New("no free pod CIDR: give one with --pod-cidr")
)

// Route is a route of the host: a destination and the interface it leaves by.
type Route struct {
	Dst       netip.Prefix
	Interface string
}

// pools are where a pod CIDR is looked for, in this order. They avoid what
// Docker, podman, k3s, flannel and kubeadm take by default.
var pools = [...]string{"10.200.0.0/14", "172.24.0.0/14", "192.168.192.0/18", "100.96.0.0/11"}

// poolBits is the length of a chosen CIDR: 509 pods, more than a node takes.
const poolBits = 23

// ChooseCIDR returns the pod CIDR of an instance. A preferred one is checked:
// IPv4, of a sensible size, and overlapping no route of an interface other
// than own; the error wraps ErrCIDR. Where preferred is the zero prefix, the
// first free one of the candidates is taken, from a start that depends on seed
// alone. Default routes do not count.
func ChooseCIDR(preferred netip.Prefix, routes []Route, own, seed string) (netip.Prefix, error) {
	if preferred.IsValid() {
		return checkCIDR(preferred, routes, own)
	}
	for _, p := range pools {
		if cidr, ok := choose(netip.MustParsePrefix(p), routes, own, seed); ok {
			return cidr, nil
		}
	}
	return netip.Prefix{}, ErrNoCIDR
}

func checkCIDR(cidr netip.Prefix, routes []Route, own string) (netip.Prefix, error) {
	switch {
	case !cidr.Addr().Is4():
		return netip.Prefix{}, fmt.Errorf("%w: %s is not IPv4", ErrCIDR, cidr)
	case cidr.Bits() < 8 || cidr.Bits() > 29:
		return netip.Prefix{}, fmt.Errorf("%w: %s: the length must be between 8 and 29", ErrCIDR, cidr)
	case cidr != cidr.Masked():
		return netip.Prefix{}, fmt.Errorf("%w: %s has host bits set, did you mean %s?", ErrCIDR, cidr, cidr.Masked())
	}
	if r, taken := overlap(cidr, routes, own); taken {
		return netip.Prefix{}, fmt.Errorf("%w: %s overlaps the route %s of interface %s", ErrCIDR, cidr, r.Dst, r.Interface)
	}
	return cidr, nil
}

func choose(pool netip.Prefix, routes []Route, own, seed string) (netip.Prefix, bool) {
	sum := sha256.Sum256([]byte(seed))
	base := pool.Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	n := uint32(1) << (poolBits - pool.Bits())
	start := binary.BigEndian.Uint32(sum[:4]) % n
	for i := range n {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], first+(start+i)%n<<(32-poolBits))
		cidr := netip.PrefixFrom(netip.AddrFrom4(ip), poolBits)
		if _, taken := overlap(cidr, routes, own); !taken {
			return cidr, true
		}
	}
	return netip.Prefix{}, false
}

// overlap returns the first foreign route that overlaps.
func overlap(cidr netip.Prefix, routes []Route, own string) (Route, bool) {
	for _, r := range routes {
		if r.Interface != own && r.Dst.Bits() > 0 && r.Dst.Overlaps(cidr) {
			return r, true
		}
	}
	return Route{}, false
}

// HostRoutes returns the IPv4 routes of the host's main table.
func HostRoutes() ([]Route, error) {
	list, err := dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []Route
	for _, r := range list {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if !ok {
			continue
		}
		name := ""
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			name = l.Attrs().Name
		}
		routes = append(routes, Route{Dst: netip.PrefixFrom(addr, ones), Interface: name})
	}
	return routes, nil
}

// dump lists kernel objects again while the list changes under the listing.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 10
	var out []T
	var err error
	for range tries {
		out, err = list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

// gateway is the first address of a pod CIDR, the bridge's own.
func gateway(cidr netip.Prefix) netip.Addr { return cidr.Masked().Addr().Next() }
