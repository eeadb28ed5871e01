package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// begin carries a step out in a goroutine of its own, unless it runs already.
// It returns after what time the worker should look again: a step that is
// asked for too often has to wait.
func (w *worker) begin(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed, now time.Time) time.Duration {
	id := s.ID()
	if w.flying(s) {
		return idleWake
	}
	if wait := w.guard.delay(id, now); wait > 0 {
		w.log.Warn("a step is asked for again and again", zap.String("step", string(id)))
		return wait
	}
	sctx, cancel := context.WithCancel(ctx)
	f := &flight{step: s, since: now, cancel: cancel}
	w.hookBegins(p, s, now)
	w.mu.Lock()
	w.flights[id] = f
	w.mu.Unlock()
	w.steps.Go(func() {
		defer cancel()
		tctx, done := w.step(sctx, s, o)
		err := w.carryOut(tctx, p, s, o)
		if sctx.Err() != nil && err != nil {
			err = context.Canceled
		}
		done(err)
		w.finish(p, f, o, err)
	})
	return idleWake
}

// finish records how a step ended and lets the worker look again, which counts
// it as under way until then: what is planned meanwhile must not take it for
// one that never ran.
func (w *worker) finish(p *corev1.Pod, f *flight, o pod.Observed, err error) {
	now := w.a.clock()
	fields := []zap.Field{
		zap.String("step", string(f.step.ID())), zap.Duration("took", now.Sub(f.since)), zap.Error(err),
	}
	switch {
	case err == nil:
		w.log.Debug("step done", fields...)
	case errors.Is(err, context.Canceled) || errors.Is(err, pod.ErrUnavailable):
		w.log.Debug("step not done", fields...)
	default:
		w.log.Warn("step failed", fields...)
		w.announceFailure(p, f.step, o, err)
	}
	w.mu.Lock()
	w.outcomes = append(w.outcomes, outcome{step: f.step, since: f.since, at: now, err: err})
	w.mu.Unlock()
	w.poke()
}

// carryOut waits for the step's turn and executes it within its time.
func (w *worker) carryOut(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	rule := w.a.rules[s.Kind]
	_, taken := tracing.Begin(ctx, "await turn", tracing.Minor())
	err := rule.turns.take(ctx)
	if taken(err); err != nil {
		return err
	}
	defer rule.turns.give()
	ctx, cancel := context.WithTimeout(ctx, rule.limit)
	defer cancel()
	return w.execute(ctx, p, s, o)
}

func (w *worker) execute(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	uid := w.ref.UID
	switch s.Kind {
	case pod.StepCreateSandbox:
		handler, err := w.handler(ctx, p)
		if err == nil {
			err = pod.CheckOwnUsers(p, handler, o.Features)
		}
		if err != nil {
			return err
		}
		_, err = w.a.o.Sandboxes.Create(ctx, p)
		return err
	case pod.StepAttachNetwork:
		return w.attach(ctx, p)
	case pod.StepPrepareVolumes:
		return w.files.prepare(ctx, p)
	case pod.StepPullImage:
		return w.pull(ctx, p, s)
	case pod.StepCreateContainer:
		return w.create(ctx, p, s, o)
	case pod.StepStartContainer:
		return w.start(ctx, p, s, o)
	case pod.StepPostStart, pod.StepPreStop:
		return w.hook(ctx, p, s, o)
	case pod.StepResize:
		return w.resize(ctx, p, o)
	case pod.StepSignalContainer:
		return w.signal(ctx, p, s, o)
	case pod.StepRemoveContainer:
		return w.remove(ctx, p, s, o)
	case pod.StepDetachNetwork:
		return w.a.o.Sandboxes.Detach(ctx, uid)
	case pod.StepRemoveSandbox:
		return w.a.o.Sandboxes.Remove(ctx, uid)
	case pod.StepRemoveVolumes:
		return w.a.o.Volumes.Remove(ctx, uid)
	case pod.StepDeletePod:
		return w.deleteObject(ctx)
	}
	return fmt.Errorf("step %q is unknown: %w", s.Kind, pod.ErrConfig)
}

func (w *worker) attach(ctx context.Context, p *corev1.Pod) error {
	ips, err := w.a.o.Sandboxes.Attach(ctx, p)
	if err != nil {
		return err
	}
	_, done := tracing.Begin(ctx, "host files")
	err = w.files.attached(ctx, p, ips)
	done(err)
	return err
}

// start starts an attempt. When the runtime says that it could not, the
// attempt's pipes are closed with the next look at it.
func (w *worker) start(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	if err := w.a.o.Runtime.Start(ctx, s.Attempt); err != nil {
		return err
	}
	name := containerOf(s, o)
	if name == pod.Holder {
		return nil
	}
	w.normal(p, name, reasonStarted, "Container started")
	return nil
}

func (w *worker) signal(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	if _, again := o.Stops[s.Attempt]; !again && s.Why != "" {
		w.normal(p, containerOf(s, o), reasonKilling, "%s", s.Why)
	}
	return w.a.o.Runtime.Signal(ctx, s.Attempt, s.Signal)
}

// remove removes an attempt and, once its pipes are empty, its log.
func (w *worker) remove(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	at, known := attemptOf(s, o)
	if known && at.State != pod.AttemptExited && s.Why != "" {
		w.normal(p, at.Container, reasonKilling, "%s", s.Why)
	}
	if err := w.a.o.Runtime.Remove(ctx, s.Attempt); err != nil {
		return err
	}
	if !known || at.Container == pod.Holder {
		return nil
	}
	w.a.copiers.finish(ctx, keyOf(at))
	if f, ok := w.a.o.Volumes.(attemptFiles); ok {
		if err := f.RemoveAttempt(w.ref.UID, at.Container, at.Number); err != nil {
			return err
		}
	}
	return w.a.o.Logs.Remove(ctx, keyOf(at))
}

// deleteObject deletes the API object for good, after its last status has
// been written. Another pod of the same name is left alone.
func (w *worker) deleteObject(ctx context.Context) error {
	if err := w.a.status.flush(ctx, w.ref.UID); err != nil {
		// The deletion matters more than the last words.
		w.log.Debug("the last status is not written", zap.Error(err))
	}
	// The watch tells of the deletion before the answer is here: that must
	// not cut the request off.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTime)
	defer cancel()
	var now int64
	err := w.a.o.Client.CoreV1().Pods(w.ref.Namespace).Delete(ctx, w.ref.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now,
		Preconditions:      &metav1.Preconditions{UID: &w.ref.UID},
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func attemptOf(s pod.Step, o pod.Observed) (pod.Attempt, bool) {
	i := slices.IndexFunc(o.Attempts, func(a pod.Attempt) bool { return a.ID == s.Attempt })
	if i < 0 {
		return pod.Attempt{}, false
	}
	return o.Attempts[i], true
}

func containerOf(s pod.Step, o pod.Observed) string {
	if at, ok := attemptOf(s, o); ok {
		return at.Container
	}
	return s.Container
}

// announceFailure records the event of a failed step.
func (w *worker) announceFailure(p *corev1.Pod, s pod.Step, o pod.Observed, err error) {
	switch s.Kind {
	case pod.StepResize:
		// The status tells of it, and the event follows from that.
	case pod.StepPostStart:
		w.warning(p, s.Container, reasonFailedPostStart, "PostStartHook failed")
	case pod.StepPreStop:
		w.warning(p, s.Container, reasonFailedPreStop, "PreStopHook failed")
	case pod.StepPullImage:
		for _, name := range usersOf(p, s) {
			if errors.Is(err, pod.ErrImageName) {
				w.warning(p, name, reasonInspectFailed, "%v", err)
			} else {
				w.warning(p, name, reasonFailed, "Failed to pull image %q: %v", s.Image, err)
			}
		}
		for _, name := range waitingFor(p, s) {
			w.warning(p, name, reasonFailed, "Error: %s", reasonOf(s.Kind, err))
		}
	case pod.StepCreateContainer, pod.StepStartContainer:
		if containerOf(s, o) == pod.Holder {
			w.warning(p, "", pod.ReasonCreateSandbox, "Failed to create pod sandbox: %v", err)
			return
		}
		w.warning(p, containerOf(s, o), reasonFailed, "Error: %v", err)
	case pod.StepCreateSandbox:
		w.warning(p, "", pod.ReasonCreateSandbox, "Failed to create pod sandbox: %v", err)
	case pod.StepAttachNetwork:
		w.warning(p, "", pod.ReasonCreateSandbox, "Failed to create pod sandbox: failed to set up its network: %v", err)
	case pod.StepPrepareVolumes:
		w.warning(p, "", pod.ReasonFailedMount, "%v", err)
	default:
		w.warning(p, containerOf(s, o), reasonOf(s.Kind, err), "error: %v", err)
	}
}
