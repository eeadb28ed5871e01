package pod

import (
	"syscall"
	"time"
)

// stopOrder is why and how an attempt is stopped.
type stopOrder struct {
	// message is that of the Killing event.
	message string
	// grace in seconds replaces the pod's grace period where it is set.
	grace *int64
	// wait: others have to end first, as long as there is time.
	wait bool
	// noHook: the preStop hook does not run.
	noHook bool
	// since is when its time began to run although nothing was done to the
	// attempt yet; zero: with the first thing that is done.
	since time.Time
}

// stopAll stops every attempt that lives and says whether none does. Sidecars
// come after all others, the last one first.
func (pl *planner) stopAll() bool {
	pl.d.Stopping = true
	order := func(a *Attempt) stopOrder {
		o := stopOrder{message: "Stopping container " + a.Container}
		if pl.o.Evicted != nil {
			o.grace = pl.o.Evicted.Grace
		}
		return o
	}
	others := false
	pl.each(func(u *unit) {
		if u.sidecar {
			return
		}
		others = others || u.live != nil
		for _, a := range u.all {
			pl.stop(a, u, order(a))
		}
	})
	for _, a := range pl.orphans {
		pl.stop(a, nil, order(a))
	}
	for i := len(pl.inits) - 1; i >= 0; i-- {
		u := pl.inits[i]
		if !u.sidecar {
			continue
		}
		for _, a := range u.all {
			o := order(a)
			o.wait, o.since = others, pl.o.Stopping
			pl.stop(a, u, o)
		}
		others = others || u.live != nil
	}
	return !pl.alive()
}

// stop asks the attempt to end, after its preStop hook, and kills it when its
// grace is over. One that was never started has nothing to be asked. u is the
// attempt's container, nil where the spec has none.
func (pl *planner) stop(a *Attempt, u *unit, o stopOrder) {
	if a.State == AttemptExited {
		return
	}
	if _, starting := pl.o.InFlight[Step{Kind: StepStartContainer, Attempt: a.ID}.ID()]; starting {
		return
	}
	if a.State == AttemptCreated {
		pl.remove(a, o.message)
		return
	}
	told, isTold := pl.o.Stops[a.ID]
	hooked := pl.o.Hooks[a.ID].PreStopAt
	since := earliest(pl.now, told, hooked, o.since)
	kill := pl.killTime(since, o.grace)
	if isTold {
		if since.Before(told) {
			kill = later(kill, told.Add(MinStop))
		}
		if pl.now.Before(kill) {
			pl.wake(kill)
			return
		}
		pl.kill(a, o.message)
		return
	}
	if pl.now.Before(kill) && (!o.noHook && pl.preStop(a, u, kill, o.message) || o.wait) {
		pl.wake(kill)
		return
	}
	switch {
	case pl.now.Before(kill) || since.Before(pl.now):
		if !hooked.IsZero() {
			o.message = "" // it was said when the hook began
		}
		pl.signal(a, stopSignal(u.container()), o.message)
	default:
		pl.kill(a, o.message)
	}
}

// preStop runs the container's preStop hook, unless it is over, and says
// whether to wait for it.
func (pl *planner) preStop(a *Attempt, u *unit, until time.Time, message string) bool {
	if u == nil || u.c.Lifecycle == nil || u.c.Lifecycle.PreStop == nil {
		return false
	}
	if pl.o.Hooks[a.ID].PreStop != HookPending {
		return false
	}
	pl.add(Step{
		Kind: StepPreStop, Container: a.Container, Attempt: a.ID, Number: a.Number,
		Limit: until.Sub(pl.now), Why: message,
	})
	return true
}

// killTime is when an attempt whose time runs since then is killed. A grace
// period of its own never prolongs that of a deletion.
func (pl *planner) killTime(since time.Time, grace *int64) time.Time {
	kill := KillTime(pl.pod, since)
	if grace == nil {
		return kill
	}
	own := since.Add(time.Duration(max(*grace, 1)) * time.Second)
	if pl.deleting() && kill.Before(own) {
		return kill
	}
	return own
}

func (pl *planner) kill(a *Attempt, message string) {
	if last, killed := pl.o.Kills[a.ID]; killed {
		if again := last.Add(KillRetry); pl.now.Before(again) {
			pl.wake(again)
			return
		}
	}
	pl.signal(a, syscall.SIGKILL, message)
}

func (pl *planner) signal(a *Attempt, sig syscall.Signal, message string) {
	pl.add(Step{Kind: StepSignalContainer, Container: a.Container, Attempt: a.ID, Number: a.Number, Signal: sig, Why: message})
}

// earliest is the first of the times that are set.
func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
