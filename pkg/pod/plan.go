package pod

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Plan decides what to do next for a pod. It is pure and depends on its
// arguments only; the steps come in a fixed order. p is the pod as the API has
// it, p.Status the status that was reported last.
//
// While image pulls are the only steps under way they hold nothing up: with
// Done the agent has to cancel them.
func Plan(p *corev1.Pod, o Observed, now time.Time) Decision {
	pl := &planner{view: look(p, o, now)}
	switch {
	case pl.deleting():
		pl.planDelete()
	case pl.end != nil:
		pl.planEnd()
	default:
		pl.planRun()
	}
	return pl.d
}

type planner struct {
	*view
	d Decision
}

// add asks for a step, unless it is asked for already, is under way or has failed
// too recently.
func (pl *planner) add(s Step) {
	id := s.ID()
	if _, ok := pl.o.InFlight[id]; ok {
		return
	}
	if slices.ContainsFunc(pl.d.Steps, func(o Step) bool { return o.Kind == s.Kind && o.ID() == id }) {
		return
	}
	if f, failed := pl.o.Failures[id]; failed {
		at, again := retryAt(s.Kind, f)
		if !again {
			return
		}
		if pl.now.Before(at) {
			pl.wake(at)
			return
		}
	}
	pl.d.Steps = append(pl.d.Steps, s)
}

// wake plans again at this time at the latest.
func (pl *planner) wake(at time.Time) {
	if pl.d.Wake.IsZero() || at.Before(pl.d.Wake) {
		pl.d.Wake = at
	}
}

func (pl *planner) notice(container, kind, reason, message string) {
	pl.d.Notices = append(pl.d.Notices, Notice{Container: container, Type: kind, Reason: reason, Message: message})
}

func (pl *planner) remove(a *Attempt, why string) {
	pl.add(Step{Kind: StepRemoveContainer, Container: a.Container, Attempt: a.ID, Number: a.Number, Why: why})
}

// planEnd brings a pod that is not being deleted to rest: its last attempts
// stay for their logs. The sandbox goes only when the API knows the phase, so
// that an agent which forgets why the pod ended does not start it again
// elsewhere.
func (pl *planner) planEnd() {
	if !pl.terminal() && pl.end.reason == ReasonDeadlineExceeded {
		pl.notice("", corev1.EventTypeNormal, pl.end.reason, pl.end.message)
	}
	if !pl.terminal() && pl.o.Evicted != nil {
		pl.notice("", corev1.EventTypeWarning, pl.end.reason, strings.TrimPrefix(pl.end.message, Rejected))
	}
	pl.removeOld()
	if pl.stopAll() && pl.terminal() && pl.dropSandbox() && pl.end.reason == ReasonEvicted {
		pl.giveBack()
	}
}

// giveBack frees the disk of a pod that was evicted: it may have been for that.
func (pl *planner) giveBack() {
	for i := range pl.o.Attempts {
		pl.remove(&pl.o.Attempts[i], "")
	}
	if len(pl.o.Attempts) == 0 && pl.o.VolumesPresent && !pl.inFlight(StepPrepareVolumes) {
		pl.add(Step{Kind: StepRemoveVolumes})
	}
}

// planDelete undoes everything, in the reverse order of its making, and then
// deletes the API object.
func (pl *planner) planDelete() {
	if !pl.stopAll() {
		pl.removeOld()
		return
	}
	for i := range pl.o.Attempts {
		pl.remove(&pl.o.Attempts[i], "")
	}
	gone := pl.dropSandbox()
	if len(pl.o.Attempts) > 0 {
		return
	}
	if pl.o.VolumesPresent {
		if !pl.inFlight(StepPrepareVolumes) {
			pl.add(Step{Kind: StepRemoveVolumes})
		}
		return
	}
	if !gone || pl.inFlight(StepRemoveContainer, StepPrepareVolumes, StepRemoveVolumes) {
		return
	}
	if pl.o.Deleted {
		pl.d.Done = true
		return
	}
	pl.add(Step{Kind: StepDeletePod})
}

// dropSandbox releases the network as soon as no process uses it, and removes
// the sandbox with no attempt alive in it. It says whether none is left.
func (pl *planner) dropSandbox() bool {
	if pl.inFlight(StepCreateSandbox, StepAttachNetwork) {
		return false
	}
	if !pl.deleting() && pl.holder != nil {
		pl.remove(pl.holder, "")
		return false
	}
	s := pl.o.Sandbox
	switch {
	case s == nil && !pl.deleting() && !pl.release():
		return false
	case s == nil:
		return !pl.inFlight(StepDetachNetwork, StepRemoveSandbox)
	case s.Attached:
		pl.add(Step{Kind: StepDetachNetwork})
	case pl.deleting() && len(pl.o.Attempts) > 0:
		// Its cgroup and mounts are in use until the attempts are removed.
	case !pl.inFlight(StepDetachNetwork):
		pl.add(Step{Kind: StepRemoveSandbox})
	}
	return false
}

// removeOld removes what no status and no log reader looks at: attempts before
// the newest ended one, and those of containers unknown to the spec.
func (pl *planner) removeOld() {
	pl.each(func(u *unit) {
		for _, a := range u.all {
			if a == u.live || a == u.ended || a == pl.trigger && pl.resetting() {
				continue
			}
			pl.remove(a, "")
		}
	})
	for _, a := range pl.orphans {
		pl.remove(a, "")
	}
}
