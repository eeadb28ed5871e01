package ctrd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/carob-project/carob/pkg/pod"
)

// CleanUp removes what a crash left half made in containerd: attempts that
// were never started and have no process, containers of this instance that are
// no attempts, snapshots without a container or a volume, and leases and
// commands of an earlier carob.
// Call it once at start, before the first Create.
func (r *Runtime) CleanUp(ctx context.Context) error {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return err
	}
	records, err := r.containers().List(ctx, r.ownFilter())
	if err != nil {
		return fmt.Errorf("clean up: %w", native(err))
	}
	known := map[string]bool{}
	var errs []error
	for _, c := range records {
		known[c.ID] = true
		e, ok := r.state.get(c.ID)
		if ok && !halfMade(e.attempt) || r.ids.held(c.ID) {
			continue
		}
		r.log.Info("removing a container that was never finished", zap.String("id", c.ID))
		errs = append(errs, r.removeAny(ctx, c.ID))
	}
	errs = append(errs, r.cleanSnapshots(ctx, known), r.cleanLeases(ctx), r.cleanCommands(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

// halfMade: nothing of it ever ran. Its process, if it got one, was killed
// while it waited for its start, by whoever undid its making. Any other exit
// without the record of a start is one of a process that did run.
func halfMade(a pod.Attempt) bool {
	if a.State != pod.AttemptExited || !a.StartedAt.IsZero() || a.Exit.StartError != "" {
		return false
	}
	return a.Exit.Lost || a.Exit.Code == codeKilled && !a.Exit.OOMKilled
}

// removeAny removes a container that need not be in the picture. Its pipes are
// their maker's, who may have opened them already to try again.
func (r *Runtime) removeAny(ctx context.Context, id string) error {
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, _ := r.state.get(id)
	return r.destroy(ctx, bare(id, e.attempt.Pod.UID))
}

// cleanSnapshots removes those of no known container; without known ones also
// those of volumes.
func (r *Runtime) cleanSnapshots(ctx context.Context, known map[string]bool) error {
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		return err
	}
	var orphans []string
	err = sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if !known[info.Name] && !r.ids.held(info.Name) && (known == nil || !isView(info)) {
			orphans = append(orphans, info.Name)
		}
		return nil
	}, r.ownFilter())
	if err != nil {
		return fmt.Errorf("list snapshots: %w", native(err))
	}
	var errs []error
	for _, key := range orphans {
		if _, err := r.containers().Get(ctx, key); err == nil {
			continue
		}
		r.log.Info("removing a snapshot without a container", zap.String("id", key))
		errs = append(errs, removeSnapshot(ctx, sn, key))
	}
	return errors.Join(errs...)
}

func (r *Runtime) cleanLeases(ctx context.Context) error {
	manager := r.client.LeasesService()
	all, err := manager.List(ctx, fmt.Sprintf("labels.%s==%s", strconv.Quote(labelInstance), r.opts.Instance))
	if err != nil {
		return fmt.Errorf("list leases: %w", native(err))
	}
	var errs []error
	for _, l := range all {
		r.leaseMu.Lock()
		_, live := r.leases[l.ID]
		r.leaseMu.Unlock()
		if !live {
			errs = append(errs, orGone(manager.Delete(ctx, l, leases.SynchronousDelete)))
		}
	}
	return errors.Join(errs...)
}

// RemoveInstance kills and removes every container of this instance with its
// snapshot and pipes, and the instance's leases and AppArmor profile; with
// alsoImages also the images it pulled or imported that no other container uses.
// No other process of the instance may be running.
func (r *Runtime) RemoveInstance(ctx context.Context, alsoImages bool) error {
	ctx = r.scoped(ctx)
	records, err := r.containers().List(ctx, r.ownFilter())
	if err != nil {
		return fmt.Errorf("remove instance: %w", native(err))
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, c := range records {
		e, _, ok := observe(c, nil, r.host.bootID)
		if !ok {
			e = bare(c.ID, "")
		}
		group.Go(func() error {
			unlock, err := r.ids.lock(gctx, c.ID)
			if err != nil {
				return err
			}
			defer unlock()
			return r.destroy(gctx, e)
		})
	}
	err = group.Wait()
	if err == nil && r.host.appArmor {
		err = kernelProfiles(r.opts.Instance).unloadDefault()
	}
	err = errors.Join(err, r.cleanSnapshots(ctx, nil), r.cleanLeases(ctx))
	if err == nil && alsoImages {
		err = r.removeImages(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove instance: %w", err)
	}
	return nil
}

func (r *Runtime) removeImages(ctx context.Context) error {
	stored, err := r.client.ImageService().List(ctx, r.ownFilter())
	if err != nil {
		return native(err)
	}
	var errs []error
	for _, img := range stored {
		if err := r.removeImage(ctx, img.Name); err != nil && !errors.Is(err, ErrImageInUse) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
