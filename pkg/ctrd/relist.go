package ctrd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"golang.org/x/sync/errgroup"

	"github.com/carob-project/carob/pkg/pod"
)

// lostGrace is how long the exit of an attempt may still be told after its
// task was found gone: when containerd was away, a shim tries for some seconds
// to deliver what it has to tell.
const lostGrace = 7 * time.Second

// relist replaces the picture by what containerd has, and sees to attempts
// that ended unseen.
func (r *Runtime) relist(ctx context.Context) error {
	since := r.state.mark()
	ctx, cancel := context.WithTimeout(ctx, sessionTimeout)
	defer cancel()
	records, err := r.containers().List(ctx, r.ownFilter())
	if err != nil {
		return fmt.Errorf("list containers: %w", native(err))
	}
	listed, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return fmt.Errorf("list tasks: %w", native(err))
	}
	byID := make(map[string]*tasktypes.Process, len(listed.Tasks))
	for _, t := range listed.Tasks {
		t.Status = r.trueStatus(t)
		byID[t.ID] = t
	}
	entries := make(map[string]entry, len(records))
	due := map[string]followUp{}
	var running []string
	for _, c := range records {
		e, next, ok := observe(c, byID[c.ID], r.host.bootID)
		if !ok {
			continue
		}
		entries[c.ID] = e
		due[c.ID] = next
		if e.attempt.State == pod.AttemptRunning && next == nothing {
			running = append(running, c.ID)
		}
	}
	r.workers.Go(func() { r.hideRoots(running) })
	r.state.merge(entries, since, r.ids.held)
	r.deleted.Range(func(uid, at any) bool {
		if t, ok := at.(time.Time); ok && time.Since(t) > shimEnd {
			r.deleted.CompareAndDelete(uid, at)
		}
		return true
	})
	return r.followUp(ctx, due)
}

func (r *Runtime) ownFilter() string {
	return fmt.Sprintf("labels.%s==%s", strconv.Quote(labelInstance), r.opts.Instance)
}

// followUp is what an attempt needs after it was listed.
type followUp int

const (
	nothing followUp = iota
	// finishIt: its task has stopped, or is there although its exit is
	// recorded.
	finishIt
	// lostNow: it has no task and nothing can tell how it ended.
	lostNow
	// lostSoon: it has no task, and its shim may still tell.
	lostSoon
)

// observe makes an entry of a container record and its task, which may be nil.
// ok is false where the record is not that of an attempt.
func observe(c containers.Container, task *tasktypes.Process, bootID string) (entry, followUp, bool) {
	a, ok := attemptFromLabels(c.ID, c.Labels)
	if !ok {
		return entry{}, nothing, false
	}
	a.CreatedAt = c.CreatedAt
	e := entry{
		attempt: a, image: c.Image, cgroup: c.Labels[labelCgroup], boot: c.Labels[labelBoot],
		plain: plainProcess(c.Runtime),
	}
	for _, p := range []string{c.Labels[labelStdout], c.Labels[labelStderr]} {
		if p != "" {
			e.pipes = append(e.pipes, p)
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, c.Labels[labelStartedAt]); err == nil {
		e.started, e.attempt.StartedAt = true, at
	}
	if s := c.Labels[labelExit]; s != "" {
		exited(decodeExit(s, c.UpdatedAt))(&e)
		if task != nil {
			return e, finishIt, true
		}
		e.gone = true
		return e, nothing, true
	}
	if e.started {
		e.attempt.State = pod.AttemptRunning
	}
	if task == nil {
		if e.started && e.boot == bootID {
			return e, lostSoon, true
		}
		return e, lostNow, true
	}
	switch task.Status {
	case tasktypes.Status_STOPPED:
		return e, finishIt, true
	case tasktypes.Status_RUNNING, tasktypes.Status_PAUSED, tasktypes.Status_PAUSING:
		running(int(task.Pid), c.CreatedAt)(&e)
	case tasktypes.Status_CREATED:
		// A start that was recorded and then did not happen.
		e.attempt.State, e.started, e.attempt.StartedAt = pod.AttemptCreated, false, time.Time{}
	}
	e.attempt.PID = int(task.Pid)
	return e, nothing, true
}

// followUp does what cannot wait at once, so that a first List already knows
// what a reboot ended, and the rest in the background.
func (r *Runtime) followUp(ctx context.Context, due map[string]followUp) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for id, next := range due {
		if r.ids.held(id) {
			continue
		}
		if _, ok := r.told(id); ok && next == lostSoon {
			next = lostNow
		}
		if _, half := r.undone.Load(id); half {
			group.Go(func() error { return r.undoLater(gctx, id) })
			continue
		}
		switch next {
		case finishIt:
			r.finishSoon(r.life, id, nil, 0)
		case lostSoon:
			r.finishSoon(r.life, id, lost(), lostGrace)
		case lostNow:
			group.Go(func() error { return r.finishAttempt(gctx, id, lost()) })
		case nothing:
		}
	}
	return group.Wait()
}

// undoLater removes what a failed Create could not remove.
func (r *Runtime) undoLater(ctx context.Context, id string) error {
	unlock, err := r.ids.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	e, _ := r.state.get(id)
	// The pipes are the caller's, who may try again with them.
	if err := r.destroy(ctx, bare(id, e.attempt.Pod.UID)); err != nil {
		return err
	}
	r.undone.Delete(id)
	return nil
}

func lost() *exitRecord {
	return &exitRecord{Code: codeLost, Lost: true, FinishedAt: time.Now()}
}

// removePipes removes an attempt's FIFOs, and never anything else.
func removePipes(paths []string) error {
	for _, p := range paths {
		info, err := os.Lstat(p)
		if err != nil || info.Mode().Type() != os.ModeNamedPipe || !strings.HasPrefix(p, "/") {
			continue
		}
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("pipe: %w", err)
		}
	}
	return nil
}
