package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

// finishRetry is the time between two tries to record an exit.
const finishRetry = 2 * time.Second

// finishSoon records an exit in the background, after a delay.
func (r *Runtime) finishSoon(ctx context.Context, id string, seen *exitRecord, delay time.Duration) {
	r.workers.Go(func() {
		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		err := r.finishAttempt(ctx, id, seen)
		if err == nil || ctx.Err() != nil || errors.Is(err, pod.ErrUnavailable) {
			// When containerd is back, the listing begins this anew.
			return
		}
		r.log.Warn("cannot record the end of a container", zap.String("id", id), zap.Error(err))
		r.finishSoon(ctx, id, seen, finishRetry)
	})
}

// finishAttempt records durably how an attempt ended and then lets its task,
// and so its shim, go. seen is what an event told, for the case that the task
// is gone already; nil where there was none. An attempt that runs, is unknown
// or is finished is left as it is.
func (r *Runtime) finishAttempt(ctx context.Context, id string, seen *exitRecord) error {
	if e, ok := r.state.get(id); !ok && !r.ids.held(id) {
		return nil
	} else if ok && e.gone {
		return nil
	}
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.finish.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.finish.Release(1)
	ctx, cancel := outlive(ctx)
	defer cancel()
	e, ok := r.state.get(id)
	if !ok {
		return nil
	}
	if e.gone {
		return nil
	}
	if e.attempt.State == pod.AttemptExited {
		return r.deleteTask(ctx, e)
	}
	task, err := r.task(ctx, id)
	before, wasTold := r.told(id)
	switch {
	case err != nil:
		return err
	case task == nil && wasTold && before.Unstarted:
		return r.cutShort(ctx, e)
	case task == nil && wasTold:
		seen = &before
	case task == nil && seen == nil:
		seen = lost()
	case task == nil:
		// Somebody else deleted the task: a killed shim's end is told with
		// this code, whatever it was.
		seen.Lost = seen.Lost || seen.Code == codeLost
	case task.Status != tasktypes.Status_STOPPED:
		return nil
	case neverRan(r.opts.Namespace, id, int(task.ExitStatus)):
		return r.cutShort(ctx, e)
	default:
		seen = &exitRecord{Code: int(task.ExitStatus), FinishedAt: task.ExitedAt.AsTime()}
	}
	if err := r.recordExit(ctx, e, *seen); err != nil {
		return err
	}
	return r.deleteTask(ctx, e)
}

// neverRan says whether the image's process never began. The OCI runtime's own
// process waits for a reader of exec.fifo, and start removes the FIFO once that
// process has passed it. A containerd that is killed takes the start command
// with it, and the process that waited then ends by itself: with an error, so that
// one which ended well did run. The command may have died between letting it pass
// and removing the FIFO.
func neverRan(ns, id string, code int) bool {
	if code == 0 || code == codeKilled {
		return false
	}
	info, err := os.Lstat(filepath.Join(runtimeRoot, ns, id, "exec.fifo"))
	return err == nil && info.Mode().Type() == os.ModeNamedPipe
}

// cutShort removes an attempt that was never started, so that its number is
// made again. The caller holds the attempt's lock.
func (r *Runtime) cutShort(ctx context.Context, e entry) error {
	r.log.Info("removing a container whose start was cut short", fields(e.attempt)...)
	// Its pipes are their maker's, who may have opened them to try again.
	return r.destroy(ctx, bare(e.attempt.ID, e.attempt.Pod.UID))
}

// recordExit writes an exit into the container's labels and then into the
// picture. The caller holds the attempt's lock.
func (r *Runtime) recordExit(ctx context.Context, e entry, x exitRecord) error {
	id := e.attempt.ID
	x.StartedAt = e.attempt.StartedAt
	x.OOM = x.OOM || e.oom || oomKills(r.host.cgroupV2, e.cgroup) > 0
	if x.FinishedAt.Before(x.StartedAt) {
		x.FinishedAt = x.StartedAt
	}
	text, err := x.encode()
	if err != nil {
		return err
	}
	if err := r.setLabel(ctx, id, labelExit, text); err != nil {
		if errors.Is(err, pod.ErrNotFound) {
			r.state.remove(id)
			return nil
		}
		return fmt.Errorf("record exit: %w", err)
	}
	r.forgetTold(id)
	r.state.update(id, exited(x))
	r.log.Info("container ended", append(fields(e.attempt), zap.Int("code", x.Code),
		zap.Bool("oom", x.OOM), zap.Bool("lost", x.Lost))...)
	return nil
}

func (r *Runtime) setLabel(ctx context.Context, id, key, value string) error {
	_, err := r.containers().Update(ctx, containers.Container{ID: id, Labels: map[string]string{key: value}}, "labels."+key)
	return native(err)
}

// task returns the attempt's task, or nil where it has none.
func (r *Runtime) task(ctx context.Context, id string) (*tasktypes.Process, error) {
	resp, err := r.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return nil, orGone(err)
	}
	return resp.Process, nil
}

// deleteTask deletes a stopped task, or what containerd takes for one although
// its shim does not know it; that there is none is no error.
func (r *Runtime) deleteTask(ctx context.Context, e entry) error {
	uid := string(e.attempt.Pod.UID)
	defer r.shims.alone(uid)()
	_, err := r.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: e.attempt.ID})
	if err = orGone(err); err != nil {
		return fmt.Errorf("delete task: %w", err)
	}
	r.deleted.Store(uid, time.Now())
	r.state.update(e.attempt.ID, taskGone)
	return nil
}

func taskGone(e *entry) { e.gone = e.attempt.State == pod.AttemptExited }

func fields(a pod.Attempt) []zap.Field {
	return []zap.Field{
		zap.String("pod", a.Pod.Namespace+"/"+a.Pod.Name),
		zap.String("uid", string(a.Pod.UID)),
		zap.String("container", a.Container),
		zap.Int("attempt", a.Number),
	}
}
