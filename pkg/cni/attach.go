package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/tracing"
)

// ErrRequest: the request cannot be carried out as it is.
var ErrRequest = errors.New("invalid network request")

// DefaultIfName is the interface in the namespace where a request names none.
const DefaultIfName = "eth0"

// Request is what to attach.
type Request struct {
	// ID names the attachment; CNI calls it the container ID.
	ID string
	// NetNS is the path of a pinned network namespace.
	NetNS string
	// IfName may be empty: DefaultIfName.
	IfName string
	// Args are CNI_ARGS, in order.
	Args [][2]string
	// Capabilities are further capability arguments by name; a plugin gets
	// those that it declares. They have to survive JSON.
	Capabilities map[string]any
	Ports        []PortMapping
}

// Result is an attachment as it was made.
type Result struct {
	// IPs are the addresses of the interface in the namespace, in the
	// chain's order.
	IPs []netip.Addr
}

// Attach connects the namespace. An attachment of that ID and namespace that
// is complete is returned as it is; a half-made one is undone first. After an
// error nothing is attached, or a record of it is kept for Detach and GC.
// Errors wrap ErrConfig, ErrCIDR, ErrRequest and ErrPortInUse where they fit.
func (n *Network) Attach(ctx context.Context, req Request) (Result, error) {
	inode, err := checkRequest(&req)
	if err != nil {
		return Result{}, err
	}
	unlock, err := n.locks.Lock(ctx, req.ID)
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	old, err := n.records.read(req.ID)
	if err == nil && old != nil && old.Attached && old.Inode == inode && old.IfName == req.IfName {
		return Result{IPs: old.IPs}, nil
	}
	if old != nil || err != nil {
		if err := n.detach(ctx, req.ID); err != nil {
			return Result{}, fmt.Errorf("undo an earlier attachment: %w", err)
		}
	}
	r, err := n.plan(ctx, req, inode)
	if err != nil {
		return Result{}, err
	}
	return n.add(ctx, r)
}

// checkRequest completes the request and returns its namespace's identity.
func checkRequest(req *Request) (inode string, err error) {
	if !validID(req.ID) {
		return "", fmt.Errorf("%w: ID %q", ErrRequest, req.ID)
	}
	if req.IfName == "" {
		req.IfName = DefaultIfName
	}
	inode, ok := NamespaceID(req.NetNS)
	if !ok {
		return "", fmt.Errorf("%w: %s is no namespace", ErrRequest, req.NetNS)
	}
	return inode, nil
}

// plan writes down what will be done, and prepares carob's own network.
func (n *Network) plan(ctx context.Context, req Request, inode string) (*record, error) {
	c, err := n.load(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkPlugins(c.list, n.opts.BinDirs); err != nil {
		return nil, err
	}
	if !c.own && len(req.Ports) > 0 && !hasCapability(c.list, "portMappings") {
		return nil, fmt.Errorf("%w %s: no plugin takes the capability portMappings, which host ports need", ErrConfig, c.file)
	}
	config, err := flatten(c.list)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrConfig, c.list.Name, err)
	}
	r := &record{
		ID: req.ID, NetNS: req.NetNS, IfName: req.IfName, Inode: inode,
		Network: c.list.Name, Config: config, Own: c.own,
		Args: req.Args, Capabilities: req.Capabilities, Ports: req.Ports,
	}
	if c.own {
		_, done := tracing.Begin(ctx, "bridge")
		_, err := n.prepareOwn(ctx, false)
		if done(err); err != nil {
			return nil, err
		}
	}
	if err := n.ports.reserve(r.ID, r.keys()); err != nil {
		return nil, err
	}
	if err := n.records.write(r); err != nil {
		undo, cancel := undoContext(ctx)
		defer cancel()
		return nil, errors.Join(err, n.ports.release(undo, r.ID))
	}
	return r, nil
}

// add runs the chain for a record that is on the disk.
func (n *Network) add(ctx context.Context, r *record) (Result, error) {
	begin := time.Now()
	err := n.run(ctx, r)
	if err == nil {
		n.log.Debug("network attached", zap.String("id", r.ID), zap.Stringers("ips", r.IPs), zap.Duration("took", time.Since(begin)))
		return Result{IPs: r.IPs}, nil
	}
	undo, cancel := undoContext(ctx)
	defer cancel()
	if uerr := n.undo(undo, r); uerr != nil {
		n.log.Warn("undo of a failed network attachment failed", zap.String("id", r.ID), zap.Error(uerr))
	}
	return Result{}, err
}

func (n *Network) run(ctx context.Context, r *record) error {
	list, err := decodeConf(r.Config)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrConfig, r.Network, err)
	}
	raw, err := n.lib.AddNetworkList(ctx, list, r.runtimeConf())
	if err != nil {
		return fmt.Errorf("attach to network %s: %w", r.Network, err)
	}
	r.IPs, err = resultIPs(raw, r.IfName)
	if err != nil {
		return fmt.Errorf("attach to network %s: %w", r.Network, err)
	}
	r.Attached = true
	// The ports are opened after the record: what reads it rebuilds them.
	if err := n.records.write(r); err != nil {
		return err
	}
	pctx, done := tracing.Begin(ctx, "host ports")
	err = n.ports.activate(pctx, r.ID, r.mappings())
	done(err)
	return err
}

// resultIPs returns the addresses of the interface in the namespace.
func resultIPs(raw types.Result, ifName string) ([]netip.Addr, error) {
	if raw == nil {
		return nil, errors.New("the chain returned no result")
	}
	res, err := types100.NewResultFromResult(raw)
	if err != nil {
		return nil, fmt.Errorf("read the chain's result: %w", err)
	}
	var ips []netip.Addr
	for _, ip := range res.IPs {
		if ip.Interface != nil {
			i := *ip.Interface
			if i >= 0 && i < len(res.Interfaces) && (res.Interfaces[i].Sandbox == "" || res.Interfaces[i].Name != ifName) {
				continue
			}
		}
		if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			ips = append(ips, addr.Unmap())
		}
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("the chain gave interface %s no address", ifName)
	}
	return ips, nil
}
