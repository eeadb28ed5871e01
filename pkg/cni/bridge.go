package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
)

// ownState is what carob's own network has to remember in this boot.
type ownState struct {
	CIDR netip.Prefix `json:"cidr"`
	// IPForward is the value of the sysctl before carob set it.
	IPForward string `json:"ipForward,omitempty"`
}

const (
	ipForward = "net/ipv4/ip_forward"
	// aliasPrefix, with IPForward after it, is the bridge's alias. Another
	// instance on this machine reads the original value there: the last one
	// to go restores it.
	aliasPrefix = "carob ip_forward="
	// bridgePrefix begins the name of every instance's bridge.
	bridgePrefix = "carob-"
)

func (n *Network) statePath() string { return filepath.Join(n.opts.StateDir, "network.json") }

func (n *Network) readState() (ownState, error) {
	var s ownState
	data, err := os.ReadFile(n.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read network state: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		// Made anew from what the machine shows.
		n.log.Warn("network state is broken", zap.String("file", n.statePath()), zap.Error(err))
		return ownState{}, nil
	}
	return s, nil
}

func (n *Network) writeState(s ownState) error {
	data, err := json.Marshal(s)
	if err == nil {
		err = writeFile(n.statePath(), data)
	}
	if err != nil {
		return fmt.Errorf("write network state: %w", err)
	}
	return nil
}

// ownCIDR returns the CIDR of carob's own network, choosing it the first time.
func (n *Network) ownCIDR(ctx context.Context) (netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cidr.IsValid() {
		return n.cidr, nil
	}
	s, err := n.readState()
	if err != nil {
		return netip.Prefix{}, err
	}
	want := n.opts.PodCIDR
	if s.CIDR.IsValid() && want.IsValid() && s.CIDR != want {
		if err := n.renumber(ctx, s.CIDR, want); err != nil {
			return netip.Prefix{}, err
		}
	}
	if !want.IsValid() {
		want = s.CIDR
	}
	routes, err := HostRoutes()
	if err != nil {
		return netip.Prefix{}, err
	}
	cidr, err := ChooseCIDR(want, routes, n.opts.Name, n.opts.Name)
	if err != nil {
		return netip.Prefix{}, err
	}
	n.cidr = cidr
	return cidr, nil
}

// renumber clears the way for another CIDR, if nothing is attached with the
// old one.
func (n *Network) renumber(ctx context.Context, from, to netip.Prefix) error {
	ids, err := n.records.ids()
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return fmt.Errorf("%w: %d attachments use %s; remove them before changing it to %s", ErrCIDR, len(ids), from, to)
	}
	if err := n.removeBridge(); err != nil {
		return err
	}
	n.log.Info("pod CIDR changed", zap.Stringer("from", from), zap.Stringer("to", to))
	return errors.Join(ctx.Err(), removeAll(n.ipamDir()))
}

// prepareOwn makes carob's own network. Unless all is set, one whose bridge is
// there is taken as whole.
func (n *Network) prepareOwn(ctx context.Context, all bool) (netip.Prefix, error) {
	cidr, err := n.ownCIDR(ctx)
	if err != nil {
		return cidr, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.prepared && !all {
		if l, err := netlink.LinkByName(n.opts.Name); err == nil && l.Attrs().Flags&net.FlagUp != 0 {
			return cidr, nil
		}
	}
	state, err := n.recordState(cidr)
	if err != nil {
		return cidr, err
	}
	// The bridge's alias comes first: an instance that starts at the same time
	// would take the value that is set here for the machine's own.
	if err := n.ensureBridge(cidr, state); err != nil {
		return cidr, fmt.Errorf("make bridge %s: %w", n.opts.Name, err)
	}
	if err := writeSysctl(ipForward, "1"); err != nil {
		return cidr, err
	}
	if err := n.ports.sync(ctx, cidr); err != nil {
		return cidr, err
	}
	n.prepared = true
	return cidr, nil
}

// recordState writes down what Remove will restore, before it is changed.
func (n *Network) recordState(cidr netip.Prefix) (ownState, error) {
	s, err := n.readState()
	if err != nil {
		return s, err
	}
	if s.CIDR == cidr && s.IPForward != "" {
		return s, nil
	}
	s.CIDR = cidr
	if s.IPForward == "" {
		s.IPForward, err = originalForward()
	}
	if err != nil {
		return s, err
	}
	return s, n.writeState(s)
}

// originalForward returns the sysctl's value from before any instance.
func originalForward() (string, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if v, ok := strings.CutPrefix(l.Attrs().Alias, aliasPrefix); ok && strings.HasPrefix(l.Attrs().Name, bridgePrefix) {
			return v, nil
		}
	}
	return readSysctl(ipForward)
}

// ensureBridge makes the bridge with its address, so that the first plugins to
// run find it: several at once would get into each other's way.
func (n *Network) ensureBridge(cidr netip.Prefix, s ownState) error {
	link, err := netlink.LinkByName(n.opts.Name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		link, err = n.addBridge(cidr)
	}
	if err != nil {
		return err
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("an interface of that name exists and is a %s", link.Type())
	}
	if err := netlink.LinkSetAlias(link, aliasPrefix+s.IPForward); err != nil {
		return fmt.Errorf("set alias: %w", err)
	}
	ip := gateway(cidr)
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(cidr.Bits(), 32)}}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("set address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	// For host ports at 127.0.0.1: a packet from there may leave towards the
	// pods. Package hostport drops what would come in by it.
	return writeSysctl("net/ipv4/conf/"+n.opts.Name+"/route_localnet", "1")
}

func (n *Network) addBridge(cidr netip.Prefix) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.opts.Name
	// A fixed address; else the bridge takes that of its lowest port, and
	// pods have to ask anew whenever one comes or goes.
	ip := gateway(cidr).As4()
	attrs.HardwareAddr = net.HardwareAddr{0x0a, 0x58, ip[0], ip[1], ip[2], ip[3]}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return netlink.LinkByName(n.opts.Name)
}

func (n *Network) removeBridge() error {
	link, err := netlink.LinkByName(n.opts.Name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", n.opts.Name, err)
	}
	return nil
}

// Remove detaches everything and removes carob's own network: ports, rules,
// bridge, reservations, state; and restores the sysctl that it set unless
// another instance needs it. Each part is tried whatever becomes of the others,
// but the record of the state goes only when all is done.
func (n *Network) Remove(ctx context.Context) error {
	n.mu.Lock()
	n.prepared = false
	n.mu.Unlock()
	errs := []error{n.GC(ctx, func(string) bool { return false })}
	if err := n.table.Remove(ctx); err != nil && !errors.Is(err, exec.ErrNotFound) {
		errs = append(errs, err) // without the program there is no table
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cidr = netip.Prefix{}
	// While the bridge is there an instance that starts learns from it what the
	// value was. One that ends at the same time may have been taken for one
	// that stays: then it is looked at again.
	restored, err := n.restoreForward()
	errs = append(errs, err, n.removeBridge())
	if !restored {
		_, err := n.restoreForward()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove network %s: %w", n.opts.Name, err)
	}
	return removeAll(n.opts.StateDir)
}

// restoreForward restores the sysctl where no other instance has a bridge, and
// says whether it did.
func (n *Network) restoreForward() (bool, error) {
	s, err := n.readState()
	if err != nil || s.IPForward == "" {
		return false, err
	}
	links, err := dump(netlink.LinkList)
	if err != nil {
		return false, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if name != n.opts.Name && strings.HasPrefix(name, bridgePrefix) && strings.HasPrefix(l.Attrs().Alias, aliasPrefix) {
			return false, nil
		}
	}
	err = writeSysctl(ipForward, s.IPForward)
	return err == nil, err
}

// readSysctl and writeSysctl take names with slashes: interface names have
// dots. A value that is right already is not written.
func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys", name))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func writeSysctl(name, value string) error {
	if have, err := readSysctl(name); err == nil && have == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o600); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}
