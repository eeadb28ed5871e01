package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// planRun brings the pod up, or keeps it so. What can be done side by side is
// asked for at once: volumes and images beside the sandbox, the network beside
// the containers.
func (pl *planner) planRun() {
	pl.removeOld()
	if at, limited := pl.deadline(); limited {
		pl.wake(at)
	}
	making := pl.inFlight(StepCreateSandbox)
	if !pl.whole && !making && !pl.clearSandbox() {
		return
	}
	if !pl.o.VolumesReady && !pl.inFlight(StepRemoveVolumes) {
		pl.add(Step{Kind: StepPrepareVolumes})
	}
	switch {
	case !pl.whole && !pl.inFlight(StepRemoveSandbox, StepDetachNetwork):
		// While it is being made, add leaves it at that.
		pl.add(Step{Kind: StepCreateSandbox})
	case pl.whole && !pl.o.Sandbox.Attached && !pl.inFlight(StepDetachNetwork, StepRemoveSandbox):
		pl.add(Step{Kind: StepAttachNetwork})
	}
	pl.hold()
	// To debug a pod that does not get on is what these are for: they wait for
	// no others.
	for _, u := range pl.ephemerals {
		pl.advance(u)
	}
	if pl.stopForReset() {
		return
	}
	if pl.advanceInits() {
		for _, u := range pl.apps {
			pl.advance(u)
		}
	}
	pl.resize()
}

// advanceInits does what is next for the init containers: one after the other
// until all have passed, and afterwards for the sidecars alone. It says whether
// the app containers may go on.
func (pl *planner) advanceInits() bool {
	for _, u := range pl.inits {
		if pl.initialized || pl.passed(u) {
			if u.sidecar {
				pl.advance(u)
			}
			continue
		}
		pl.advance(u)
		return false
	}
	return true
}

// clearSandbox removes a sandbox that cannot be used, after what lives in it.
// It says whether nothing is left of it.
func (pl *planner) clearSandbox() bool {
	if !pl.stopAll() {
		return false
	}
	if pl.o.Sandbox == nil {
		return pl.release()
	}
	return pl.dropSandbox()
}

// advance does what is next for one container.
func (pl *planner) advance(u *unit) {
	switch {
	case u.live == nil:
		pl.bringUp(u)
	case u.changed(u.live) && (!u.init || u.live.State == AttemptCreated):
		pl.stop(u.live, u, stopOrder{message: fmt.Sprintf("Container %s definition changed, will be restarted", u.c.Name)})
	case pl.restartsFor(u, u.live):
		pl.stop(u.live, u, stopOrder{message: resizeMessage(u.c)})
	case u.live.State == AttemptCreated && pl.whole && pl.o.Sandbox.Attached && pl.o.VolumesReady && pl.holding():
		pl.add(Step{Kind: StepStartContainer, Container: u.c.Name, Attempt: u.live.ID, Number: u.live.Number})
	case u.live.State == AttemptRunning:
		pl.keep(u)
	}
}

// bringUp makes the next attempt of a container that has none alive, when it
// is due, its image is there, and everything it needs is ready.
func (pl *planner) bringUp(u *unit) {
	n := pl.next(u)
	if !n.wanted {
		return
	}
	if pl.now.Before(n.at) {
		pl.wake(n.at)
		pl.notice(u.c.Name, corev1.EventTypeWarning, "BackOff",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s", u.c.Name, pl.nameAndUID()))
		return
	}
	if !pl.images(u) {
		return
	}
	if needsPodIP(u.c) && (!pl.whole || !pl.o.Sandbox.Attached) {
		return
	}
	if pl.whole && pl.held() && pl.o.VolumesReady && !pl.inFlight(StepRemoveVolumes) && !pl.vanishing() {
		pl.add(Step{Kind: StepCreateContainer, Container: u.c.Name, Image: u.c.Image, Number: n.number, Streak: n.streak})
	}
}

// vanishing says whether an attempt is being removed that the runtime no longer
// lists. It may have been one that never ran, whose number comes again, and
// the rest of its removal would take parts of the new one along.
func (pl *planner) vanishing() bool {
	listed := 0
	for i := range pl.o.Attempts {
		if _, ok := pl.o.InFlight[Step{Kind: StepRemoveContainer, Attempt: pl.o.Attempts[i].ID}.ID()]; ok {
			listed++
		}
	}
	all := 0
	for id := range pl.o.InFlight {
		if ofKind(id, StepRemoveContainer) {
			all++
		}
	}
	return all > listed
}

// attemptNext is the attempt that follows.
type attemptNext struct {
	wanted bool
	number int
	streak int
	// at is when it may be made, delay how long that is after the end of
	// the one before.
	at    time.Time
	delay time.Duration
}

// next says which attempt of a container without a live one comes next.
func (v *view) next(u *unit) attemptNext {
	if u.ephemeral {
		return attemptNext{wanted: u.ended == nil}
	}
	if u.ended == nil {
		if u.count == 0 {
			return attemptNext{wanted: true}
		}
		return attemptNext{wanted: true, number: u.count + 1}
	}
	same := v.ofThisSandbox(u.ended)
	switch {
	case u.init && v.initDone(u), !u.init && !v.wantsRestart(u):
		return attemptNext{}
	case u.init && same && !v.wantsRestart(u):
		return attemptNext{}
	}
	n := attemptNext{wanted: true, number: u.count + 1}
	if !u.ghost && u.ended != v.trigger && (!same || u.changed(u.ended) || v.restartsFor(u, u.ended)) {
		// Its end was not the container's own doing, or it is another
		// container now: nothing to back off from.
		return n
	}
	n.streak = nextStreak(u.ended)
	n.delay = RestartDelay(n.streak)
	n.at = u.ended.finishedAt().Add(n.delay)
	// A clock that was set back must not make the wait longer.
	if limit := v.now.Add(n.delay); n.at.After(limit) {
		n.at = limit
	}
	return n
}

func (v *view) nameAndUID() string {
	return fmt.Sprintf("%s_%s(%s)", v.pod.Name, v.pod.Namespace, v.pod.UID)
}
