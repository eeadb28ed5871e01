package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// GC detaches everything that is recorded, cached or has an address reserved
// and that wanted does not want, and then mends carob's own network if it is
// in use. wanted is asked again right before each detach. One attachment that
// fails does not keep the others.
func (n *Network) GC(ctx context.Context, wanted func(id string) bool) error {
	ids, err := n.known()
	errs := []error{err}
	for _, id := range ids {
		if wanted(id) {
			continue
		}
		errs = append(errs, n.collect(ctx, id, wanted))
	}
	errs = append(errs, n.dropBrokenReservations())
	n.mu.Lock()
	inUse := n.prepared
	n.mu.Unlock()
	if inUse {
		_, err := n.prepareOwn(ctx, true)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (n *Network) collect(ctx context.Context, id string, wanted func(id string) bool) error {
	unlock, err := n.locks.Lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if wanted(id) {
		return nil
	}
	n.log.Info("network attachment of nobody removed", zap.String("id", id))
	if err := n.detach(ctx, id); err != nil {
		return fmt.Errorf("collect attachment %s: %w", id, err)
	}
	return nil
}

// known returns the IDs of all attachments of which there is a trace.
func (n *Network) known() ([]string, error) {
	ids, err := n.records.ids()
	cached, cerr := n.lib.GetCachedAttachments("")
	if cerr != nil {
		// One unreadable file must not keep the rest from being collected.
		n.log.Warn("read the CNI cache", zap.Error(cerr))
	}
	for _, a := range cached {
		ids = append(ids, a.ContainerID)
	}
	reservations, rerr := n.reservations()
	for _, id := range reservations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool { return !validID(id) })
	return ids, errors.Join(err, rerr)
}

// reservations returns who has which address of carob's own network, by the
// path of host-local's file. The ID is empty where the file does not say.
func (n *Network) reservations() (map[string]string, error) {
	dir := filepath.Join(n.ipamDir(), n.opts.Name)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list address reservations: %w", err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err != nil {
			continue // host-local's lock and its last address
		}
		file := filepath.Join(dir, e.Name())
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read address reservation: %w", err)
		}
		id, _, _ := strings.Cut(string(data), "\n")
		out[file] = strings.TrimSpace(id)
	}
	return out, nil
}

// reserved says whether the ID has an address of carob's own network.
func (n *Network) reserved(id string) bool {
	all, err := n.reservations()
	if err != nil {
		return true // then let the plugin see
	}
	for _, owner := range all {
		if owner == id {
			return true
		}
	}
	return false
}

// dropBrokenReservations removes files that name no owner, as a power cut
// leaves them: the plugin would keep such an address for ever.
func (n *Network) dropBrokenReservations() error {
	all, err := n.reservations()
	if err != nil || !slices.ContainsFunc(values(all), func(id string) bool { return !validID(id) }) {
		return err
	}
	unlock, err := lockDir(filepath.Join(n.ipamDir(), n.opts.Name))
	if err != nil {
		return err
	}
	defer unlock()
	// Again under the plugin's own lock: it writes a file after making it.
	all, err = n.reservations()
	for file, id := range all {
		if !validID(id) {
			n.log.Info("address reservation of nobody removed", zap.String("file", file))
			err = errors.Join(err, removeAll(file))
		}
	}
	return err
}

func values(m map[string]string) []string {
	var out []string
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// lockDir takes the lock that host-local holds while it changes a directory.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock address reservations: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock address reservations: %w", err), f.Close())
	}
	// Closing gives the lock back.
	return func() { _ = f.Close() }, nil
}
