package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	deadlineMessage = "Pod was active on the node longer than the specified deadline"
	lostMessage     = "The pod's sandbox was lost, and its restartPolicy is Never"
)

// findEnd returns why the pod ends, the strongest reason first, or nil.
func (v *view) findEnd() *ending {
	st := &v.pod.Status
	switch {
	case v.terminal():
		return &ending{phase: st.Phase, reason: st.Reason, message: st.Message}
	case v.o.Evicted != nil:
		e := v.o.Evicted
		return &ending{phase: corev1.PodFailed, reason: e.Reason, message: e.Message}
	case v.deleting():
		return &ending{}
	}
	finished, complete := v.complete()
	at, limited := v.deadline()
	if limited && !v.now.Before(at) && (!complete || finished.After(at)) {
		return &ending{phase: corev1.PodFailed, reason: ReasonDeadlineExceeded, message: deadlineMessage}
	}
	if complete {
		return &ending{}
	}
	if v.lost() {
		return &ending{phase: corev1.PodFailed, message: lostMessage}
	}
	return nil
}

// deadline is when activeDeadlineSeconds are over.
func (v *view) deadline() (time.Time, bool) {
	d, start := v.pod.Spec.ActiveDeadlineSeconds, v.pod.Status.StartTime
	if d == nil || start == nil {
		return time.Time{}, false
	}
	return start.Add(time.Duration(*d) * time.Second), true
}

// complete says whether the containers have ended the pod by themselves, and
// when the last of them did.
func (v *view) complete() (finished time.Time, ok bool) {
	if v.working() {
		return time.Time{}, false
	}
	for _, u := range v.inits {
		if u.init && u.ended != nil && u.ended.code() != 0 && !v.wantsRestart(u) {
			return u.ended.finishedAt(), true
		}
	}
	for _, u := range v.apps {
		if u.ended == nil || v.wantsRestart(u) {
			return time.Time{}, false
		}
		if f := u.ended.finishedAt(); f.After(finished) {
			finished = f
		}
	}
	return finished, len(v.apps) > 0
}

// working says whether a container that the end of the pod depends on lives or
// may come to life without another step.
func (v *view) working() bool {
	if v.inFlight(StepCreateContainer, StepStartContainer) {
		return true
	}
	live := false
	v.each(func(u *unit) { live = live || u.live != nil && !u.sidecar && !u.ephemeral })
	return live
}

// wantsRestart says whether a container that has ended runs again, while the
// pod does. Of an init container it is asked only where that has failed.
func (v *view) wantsRestart(u *unit) bool {
	switch {
	case u.sidecar || v.reset(u.ended) || Restarts(&v.pod.Spec, u.c, u.ended.code()):
		return true
	case v.o.Probes[u.ended.ID].Failed != "" && v.replaceable(u):
		// What a probe made end was to be restarted, whatever code it gave.
		return true
	}
	return !u.init && v.replaced(u)
}

// replaced says that the agent itself stopped the attempt to put another in
// its place, so that its exit code means nothing.
func (v *view) replaced(u *unit) bool {
	if _, stopped := v.o.Stops[u.ended.ID]; !stopped || u.ghost {
		return false
	}
	changed := u.changed(u.ended) || v.restartsFor(u, u.ended)
	return changed || v.restartable(u) && !v.ofThisSandbox(u.ended)
}

// lost: something ran in a sandbox that is no more, and may not run again.
func (v *view) lost() bool {
	if v.policy() != corev1.RestartPolicyNever || v.whole {
		return false
	}
	ran, again := false, false
	v.each(func(u *unit) {
		ran = ran || !u.ephemeral && (u.live != nil || u.ended != nil)
		again = again || !u.ephemeral && !u.sidecar && v.restartable(u)
	})
	return ran && !again
}

// endPhase is the phase of a pod whose containers have all ended.
func (v *view) endPhase() corev1.PodPhase {
	if v.end.phase != "" {
		return v.end.phase
	}
	for _, u := range v.apps {
		if u.ended == nil || u.ended.code() != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}
