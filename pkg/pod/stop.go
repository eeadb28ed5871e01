package pod

import (
	"fmt"
	"syscall"
)

// stopAll stops every attempt that lives and says whether none does.
func (pl *planner) stopAll(why string) bool {
	pl.each(func(u *unit) {
		for _, a := range u.all {
			pl.stop(a, why)
		}
	})
	for _, a := range pl.orphans {
		pl.stop(a, why)
	}
	return !pl.alive()
}

// stop asks the attempt to end, and kills it when its grace is over. One that
// was never started has nothing to be asked.
func (pl *planner) stop(a *Attempt, why string) {
	if a.State == AttemptExited {
		return
	}
	if _, starting := pl.o.InFlight[Step{Kind: StepStartContainer, Attempt: a.ID}.ID()]; starting {
		return
	}
	if a.State == AttemptCreated {
		pl.remove(a, why)
		return
	}
	message := "Stopping container " + a.Container
	if why != "" {
		message = fmt.Sprintf("%s: %s", message, why)
	}
	stopped, told := pl.o.Stops[a.ID]
	if !told {
		stopped = pl.now
	}
	kill := KillTime(pl.pod, stopped)
	switch {
	case pl.now.Before(kill) && !told:
		pl.signal(a, syscall.SIGTERM, message)
	case pl.now.Before(kill):
		pl.wake(kill)
	default:
		pl.kill(a, message)
	}
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
