package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/tracing"
)

// Remove detaches the pod's network if needed, ends what still runs in its
// cgroup and removes everything of the sandbox. A pod without one is no error.
func (m *Manager) Remove(ctx context.Context, uid types.UID) error {
	unlock, err := m.lock(ctx, uid)
	if err != nil {
		return err
	}
	defer unlock()
	return m.remove(ctx, uid)
}

// remove does it; the caller holds the lock of the pod. Every part is tried
// whatever becomes of the others; the directory goes last, when nothing is
// left that it tells of.
func (m *Manager) remove(ctx context.Context, uid types.UID) error {
	r, err := m.read(uid)
	switch {
	case errors.Is(err, errBroken):
		m.log.Warn("sandbox with a broken record is removed", zap.String("uid", string(uid)), zap.Error(err))
		err = m.removeUnknown(ctx, uid)
	case err != nil:
		return err
	case r == nil:
		return nil
	default:
		err = m.removeRecorded(ctx, r)
	}
	_, unmounted := tracing.Begin(ctx, "unmount")
	failed := unmountAll(m.dir(uid))
	unmounted(failed)
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("remove sandbox of %s: %w", uid, err)
	}
	if err := os.RemoveAll(m.dir(uid)); err != nil {
		return fmt.Errorf("remove sandbox of %s: %w", uid, err)
	}
	return nil
}

func (m *Manager) removeRecorded(ctx context.Context, r *record) error {
	r.State = stateRemoving
	if err := m.write(r); err != nil {
		// A full disk must not keep anything from being removed. Without a
		// record the directory counts as broken, and so as stale.
		m.log.Warn("sandbox record not written", m.podField(r), zap.Error(err))
		if err := os.Remove(filepath.Join(m.dir(r.UID), recordFile)); err != nil {
			return err
		}
	}
	err := m.detach(ctx, r)
	_, removed := tracing.Begin(ctx, "remove pod cgroup")
	failed := m.opts.Cgroups.Remove(ctx, r.Cgroup)
	removed(failed)
	return errors.Join(err, failed)
}

// removeUnknown removes whatever a sandbox can have.
func (m *Manager) removeUnknown(ctx context.Context, uid types.UID) error {
	errs := []error{m.opts.Network.Detach(ctx, string(uid))}
	for _, name := range cgroup.PodNames(string(uid)) {
		errs = append(errs, m.opts.Cgroups.Remove(ctx, name))
	}
	return errors.Join(errs...)
}

// GC removes what no wanted pod has: sandboxes, network attachments with their
// addresses and host ports, cgroups. wanted is asked right before each removal.
// One that fails does not keep the others.
func (m *Manager) GC(ctx context.Context, wanted func(types.UID) bool) error {
	uids, err := m.List()
	errs := []error{err}
	for _, uid := range uids {
		if wanted(uid) {
			continue
		}
		m.log.Info("sandbox of nobody removed", zap.String("uid", string(uid)))
		errs = append(errs, m.Remove(ctx, uid))
	}
	errs = append(errs, m.opts.Network.GC(ctx, func(id string) bool { return wanted(types.UID(id)) }))
	groups, err := m.opts.Cgroups.Pods()
	errs = append(errs, err)
	for _, name := range groups {
		uid, ok := cgroup.PodUID(name)
		if ok && !wanted(types.UID(uid)) {
			m.log.Info("cgroup of nobody removed", zap.String("cgroup", name))
			errs = append(errs, m.opts.Cgroups.Remove(ctx, name))
		}
	}
	return errors.Join(errs...)
}
