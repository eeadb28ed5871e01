package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// isSidecar says whether an init container runs beside the app containers.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// postStart is how far the postStart hook of the live attempt is. Without one
// it is done. That a status once showed the attempt as running proves it too.
func (v *view) postStart(u *unit) HookState {
	if u.c.Lifecycle == nil || u.c.Lifecycle.PostStart == nil {
		return HookDone
	}
	if h := v.o.Hooks[u.live.ID]; h.PostStart != HookPending {
		return h.PostStart
	}
	if u.wasRunning() {
		return HookDone
	}
	return HookPending
}

// wasRunning says whether the previous status showed the live attempt as
// running.
func (u *unit) wasRunning() bool {
	return u.prev != nil && u.prev.State.Running != nil && u.prev.ContainerID == idScheme+u.live.ID
}

// up says whether the container counts as running: its process does, and its
// postStart hook is over.
func (v *view) up(u *unit) bool {
	return u.live != nil && u.live.State == AttemptRunning && v.postStart(u) == HookDone
}

// started says whether the container is up and its startup probe, if it has
// one, has succeeded.
func (v *view) started(u *unit) bool {
	switch {
	case !v.up(u):
		return false
	case u.c.StartupProbe == nil || v.o.Probes[u.live.ID].Started:
		return true
	}
	return u.wasRunning() && u.prev.Started != nil && *u.prev.Started
}

// ready says whether the container is started and its readiness probe, if it
// has one, says so.
func (v *view) ready(u *unit) bool {
	switch {
	case !v.started(u):
		return false
	case u.c.ReadinessProbe == nil:
		return true
	}
	if r := v.o.Probes[u.live.ID].Ready; r != nil {
		return *r
	}
	return u.wasRunning() && u.prev.Ready
}

// keep looks after a running attempt: its postStart hook, and what hook or
// probes ask for.
func (pl *planner) keep(u *unit) {
	switch pl.postStart(u) {
	case HookPending:
		if _, told := pl.o.Stops[u.live.ID]; told {
			// What is to end gets no hook that begins its life.
			pl.stop(u.live, u, stopOrder{})
			return
		}
		pl.add(Step{Kind: StepPostStart, Container: u.c.Name, Attempt: u.live.ID, Number: u.live.Number})
		return
	case HookFailed:
		pl.stop(u.live, u, stopOrder{message: "FailedPostStartHook"})
		return
	}
	kind := pl.o.Probes[u.live.ID].Failed
	if kind == "" {
		return
	}
	o := stopOrder{message: fmt.Sprintf("Container %s failed %s probe", u.c.Name, kind)}
	if u.sidecar || pl.replaceable(u) {
		o.message += ", will be restarted"
	}
	probe := u.c.LivenessProbe
	if kind == StartupProbe {
		probe = u.c.StartupProbe
	}
	if probe != nil {
		o.grace = probe.TerminationGracePeriodSeconds
	}
	pl.stop(u.live, u, o)
}
