package ctrd

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// now is the time without its monotonic part, as it is read back from disk.
func now() time.Time { return time.Now().UTC().Round(0) }

// Start starts a created attempt; see pod.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) error {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return err
	}
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, ok := r.state.get(id)
	switch {
	case !ok:
		return fmt.Errorf("start %s: %w", id, pod.ErrNotFound)
	case e.attempt.State == pod.AttemptRunning:
		return nil
	case e.attempt.State == pod.AttemptExited && e.attempt.Exit.StartError != "":
		return startError(e.attempt.Exit.StartError)
	case e.attempt.State == pod.AttemptExited:
		return fmt.Errorf("start %s: %w", id, errEnded)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := outlive(ctx)
	defer cancel()
	return r.startTask(ctx, e)
}

var errEnded = errors.New("the attempt has ended")

// startError is why a process could not be started.
type startError string

func (e startError) Error() string { return string(e) }

// startTask starts the process and, at the same time, records that it was
// started: the record only has to survive a crash that comes later.
func (r *Runtime) startTask(ctx context.Context, e entry) error {
	id, at := e.attempt.ID, now()
	var pid uint32
	var started error
	var group errgroup.Group
	group.Go(func() error {
		_, done := tracing.Begin(ctx, "record start")
		err := r.setLabel(ctx, id, labelStartedAt, at.Format(time.RFC3339Nano))
		done(err)
		return err
	})
	group.Go(func() error {
		_, done := tracing.Begin(ctx, "runc start")
		resp, err := r.client.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id})
		done(err)
		if err != nil {
			started = native(err)
			return nil
		}
		pid = resp.Pid
		return nil
	})
	recorded := group.Wait()
	switch {
	case started == nil:
		r.state.update(id, running(int(pid), at))
		r.workers.Go(func() { r.hideRoot(id) }) // nobody waits for it
		if recorded != nil {
			return fmt.Errorf("record start: %w", recorded)
		}
		return nil
	case errors.Is(started, pod.ErrUnavailable) || ctx.Err() != nil:
		return fmt.Errorf("start task: %w", started)
	}
	started = fmt.Errorf("failed to start containerd task %q: %w", id, started)
	if _, err := r.failedStart(ctx, e, started); err != nil {
		return err
	}
	return startError(started.Error())
}

// Remove kills what still runs and removes the attempt; see pod.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return err
	}
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, ok := r.state.get(id)
	if !ok {
		return nil
	}
	return r.destroy(ctx, e)
}

// destroy removes task, pipes, snapshot and container record in this order,
// whichever of them there are. The record goes last, so that what is left after
// a crash is found by it. The caller holds the attempt's lock.
func (r *Runtime) destroy(ctx context.Context, e entry) error {
	id := e.attempt.ID
	sctx, stopped := tracing.Begin(ctx, "stop and delete task")
	err := r.stopTask(sctx, e)
	if stopped(err); err != nil {
		return err
	}
	if err := removePipes(e.pipes); err != nil {
		return err
	}
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		return err
	}
	_, removed := tracing.Begin(ctx, "remove snapshot")
	err = removeSnapshot(ctx, sn, id)
	if removed(err); err != nil {
		return err
	}
	_, deleted := tracing.Begin(ctx, "delete container record")
	err = orGone(r.containers().Delete(ctx, id))
	if deleted(err); err != nil {
		return fmt.Errorf("delete container: %w", err)
	}
	r.forgetTold(id)
	r.state.remove(id)
	return nil
}

// bare is an entry of which no more is known.
func bare(id string, uid types.UID) entry {
	return entry{attempt: pod.Attempt{ID: id, Pod: pod.Ref{UID: uid}}}
}

func removeSnapshot(ctx context.Context, sn snapshots.Snapshotter, key string) error {
	if err := orGone(sn.Remove(ctx, key)); err != nil {
		return fmt.Errorf("remove snapshot: %w", err)
	}
	return nil
}

// stopTask kills the attempt's processes, waits for their end and deletes the
// task.
func (r *Runtime) stopTask(ctx context.Context, e entry) error {
	if e.gone {
		return nil
	}
	id := e.attempt.ID
	task, err := r.task(ctx, id)
	if err != nil {
		return err
	}
	if task == nil {
		// containerd may know of a task that its shim does not know, and would
		// refuse another one of this name.
		return r.deleteTask(ctx, e)
	}
	if task.Status != tasktypes.Status_STOPPED {
		if err := r.killAndWait(ctx, e, int(task.Pid)); err != nil {
			return err
		}
	}
	return r.deleteTask(ctx, e)
}

// killAndWait waits before it kills: the other way round an end in between
// would be missed. What the first process leaves, where it is not the first of
// its namespace, the shim kills at its end.
func (r *Runtime) killAndWait(ctx context.Context, e entry, pid int) error {
	id := e.attempt.ID
	ctx, cancel := context.WithTimeout(ctx, effectTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := r.client.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
		ended <- orGone(err)
	}()
	if !e.plain || !signalInit(pid, id, syscall.SIGKILL) {
		if err := r.kill(ctx, id, syscall.SIGKILL, true); err != nil {
			return err
		}
	}
	if err := <-ended; err != nil {
		return fmt.Errorf("wait for task: %w", err)
	}
	return nil
}
