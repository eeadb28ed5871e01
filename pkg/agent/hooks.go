package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/probe"
)

// hookBegins notes that a preStop hook begins. It is what the container's stop
// begins with, and so the place to tell of it.
func (w *worker) hookBegins(p *corev1.Pod, s pod.Step, now time.Time) {
	if s.Kind != pod.StepPreStop {
		return
	}
	h := w.hooks[s.Attempt]
	if !h.PreStopAt.IsZero() {
		return
	}
	h.PreStopAt = now
	w.hooks[s.Attempt] = h
	w.normal(p, s.Container, reasonKilling, "%s", s.Why)
}

// hook runs a lifecycle hook of a container.
func (w *worker) hook(ctx context.Context, p *corev1.Pod, s pod.Step, o pod.Observed) error {
	c, _ := pod.FindContainer(p, s.Container)
	if c == nil || c.Lifecycle == nil {
		return nil
	}
	h := c.Lifecycle.PostStart
	if s.Kind == pod.StepPreStop {
		h = c.Lifecycle.PreStop
	}
	if h == nil {
		return nil
	}
	if err := w.a.probes.Hook(ctx, h, w.target(c, s.Attempt, o), s.Limit); err != nil {
		return fmt.Errorf("%s hook: %w", s.Kind, err)
	}
	return nil
}

// target is where the probes and hooks of an attempt go.
func (w *worker) target(c *corev1.Container, attempt string, o pod.Observed) probe.Target {
	t := probe.Target{AttemptID: attempt, Container: c}
	switch {
	case o.Sandbox != nil && len(o.Sandbox.IPs) > 0:
		t.Host = o.Sandbox.IPs[0]
	case len(w.a.o.NodeIPs) > 0:
		t.Host = w.a.o.NodeIPs[0]
	}
	return t
}

// hookFailed takes in that a hook failed, and says whether it did. A hook that
// could not be carried out for another reason than the node's own has failed.
func (w *worker) hookFailed(oc outcome) bool {
	if oc.step.Kind != pod.StepPostStart && oc.step.Kind != pod.StepPreStop {
		return false
	}
	if errors.Is(oc.err, pod.ErrUnavailable) {
		return false
	}
	message := oc.err.Error()
	var failed *probe.HookError
	if errors.As(oc.err, &failed) {
		message = failed.Message
	}
	w.hookEnded(oc.step, pod.HookFailed, message)
	return true
}

func (w *worker) hookEnded(s pod.Step, state pod.HookState, message string) {
	h := w.hooks[s.Attempt]
	if s.Kind == pod.StepPostStart {
		h.PostStart, h.Message = state, message
	} else {
		h.PreStop = state
	}
	w.hooks[s.Attempt] = h
}

// noteStopping remembers since when the whole pod is being stopped.
func (w *worker) noteStopping(stopping bool, now time.Time) {
	switch {
	case !stopping:
		w.stopping = time.Time{}
	case w.stopping.IsZero():
		w.stopping = now
	}
}
