package cni

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

// Detach undoes Attach, also a half-done one, one of an earlier boot, and one
// of which no record is left. What is not attached is no error.
func (n *Network) Detach(ctx context.Context, id string) error {
	if !validID(id) {
		return fmt.Errorf("%w: ID %q", ErrRequest, id)
	}
	unlock, err := n.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	return n.detach(ctx, id)
}

// detach does it; the caller holds the lock of the ID.
func (n *Network) detach(ctx context.Context, id string) error {
	r, err := n.records.read(id)
	if errors.Is(err, errBroken) {
		n.log.Warn("detach by a broken record", zap.String("id", id), zap.Error(err))
		r, err = nil, nil
	}
	if err != nil {
		return err
	}
	if r == nil {
		r, err = n.guess(ctx, id)
	}
	if err != nil {
		return err
	}
	if r == nil {
		return n.records.remove(id)
	}
	return n.undo(ctx, r)
}

// guess makes up the record of an attachment that has none: from libcni's
// cache, else from the configuration as it is now. It returns nil where no
// attachment can exist.
func (n *Network) guess(ctx context.Context, id string) (*record, error) {
	cached, err := n.lib.GetCachedAttachments(id)
	if err != nil {
		n.log.Warn("read the CNI cache", zap.Error(err))
	}
	for _, a := range cached {
		r := &record{
			ID: id, NetNS: a.NetNS, IfName: a.IfName, Network: a.Network, Config: a.Config,
			Own: a.Network == n.opts.Name, Args: a.CniArgs, Capabilities: a.CapabilityArgs,
		}
		if list, err := decodeConf(a.Config); err == nil && list.Name == a.Network {
			return r, nil
		}
	}
	c, err := n.load(ctx)
	if err != nil {
		// Nothing is recorded and nothing can be run: the configuration's
		// error shows where something is to be attached.
		n.log.Debug("no configuration to detach by", zap.String("id", id), zap.Error(err))
		return nil, nil
	}
	if c.own && !n.reserved(id) {
		return nil, nil
	}
	config, err := flatten(c.list)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrConfig, c.list.Name, err)
	}
	return &record{ID: id, IfName: DefaultIfName, Network: c.list.Name, Config: config, Own: c.own}, nil
}

// undo closes the ports, runs DEL and forgets the record; the record goes when
// nothing is left of what it describes. Ports and DEL go side by side: each
// waits for the kernel to let go of something.
func (n *Network) undo(ctx context.Context, r *record) error {
	list, err := decodeConf(r.Config)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrConfig, r.Network, err)
	}
	rt := r.runtimeConf()
	if inode, ok := NamespaceID(r.NetNS); !ok || (r.Inode != "" && inode != r.Inode) {
		// Plugins give back what lies outside of a namespace that is gone.
		rt.NetNS = ""
	}
	released := make(chan error, 1)
	go func() { released <- n.ports.release(ctx, r.ID) }()
	if err = n.lib.DelNetworkList(ctx, list, rt); err != nil {
		err = fmt.Errorf("detach from network %s: %w", r.Network, err)
	}
	if err := errors.Join(err, <-released); err != nil {
		return err
	}
	return n.records.remove(r.ID)
}

// Check runs the chain's CHECK on an attachment.
func (n *Network) Check(ctx context.Context, id string) error {
	unlock, err := n.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r, err := n.records.read(id)
	if err != nil {
		return err
	}
	if r == nil || !r.Attached {
		return fmt.Errorf("%w: %s is not attached", ErrRequest, id)
	}
	if inode, ok := NamespaceID(r.NetNS); !ok || inode != r.Inode {
		return fmt.Errorf("check network of %s: the namespace is gone", id)
	}
	list, err := decodeConf(r.Config)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrConfig, r.Network, err)
	}
	if err := n.lib.CheckNetworkList(ctx, list, r.runtimeConf()); err != nil {
		return fmt.Errorf("check network of %s: %w", id, err)
	}
	return nil
}
