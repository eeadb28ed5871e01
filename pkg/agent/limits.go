package agent

import (
	"context"
	"runtime"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// stepRule bounds a kind of step: how long one may take once it has its turn,
// and with which others it shares its turns.
type stepRule struct {
	limit time.Duration
	turns turns
}

// turns is a counting semaphore; nil does not bound.
type turns chan struct{}

func (t turns) take(ctx context.Context) error {
	if t == nil {
		return ctx.Err()
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turns) give() {
	if t != nil {
		<-t
	}
}

// Limits says how many steps of a kind run at the same time on the node. Zero
// values mean the defaults.
type Limits struct {
	// Creates bounds the making of sandboxes, networks, volumes and
	// containers, each kind for itself; default four a CPU, at least 8.
	Creates int
	// Removes bounds the removal of all of these together; default as
	// Creates.
	Removes int
}

func (l Limits) withDefaults() Limits {
	if l.Creates <= 0 {
		l.Creates = max(8, 4*runtime.NumCPU())
	}
	if l.Removes <= 0 {
		l.Removes = l.Creates
	}
	return l
}

// hookLimit bounds hooks, which Kubernetes does not: a preStop hook has its
// grace period, and a postStart hook ends with its container.
const hookLimit = 30 * 24 * time.Hour

// rules returns the bounds of every kind of step. Starts and signals are not
// bounded in number: they are short, and what waits for them is a user.
func (l Limits) rules() map[pod.StepKind]stepRule {
	removes := make(turns, l.Removes)
	creates := func() turns { return make(turns, l.Creates) }
	return map[pod.StepKind]stepRule{
		pod.StepCreateSandbox:   {time.Minute, creates()},
		pod.StepAttachNetwork:   {2 * time.Minute, creates()},
		pod.StepPrepareVolumes:  {2 * time.Minute, creates()},
		pod.StepPullImage:       {time.Hour, nil}, // the runtime bounds them, registry by registry
		pod.StepCreateContainer: {2 * time.Minute, creates()},
		pod.StepStartContainer:  {2 * time.Minute, nil},
		pod.StepPostStart:       {hookLimit, nil},
		pod.StepPreStop:         {hookLimit, nil},
		pod.StepResize:          {time.Minute, nil},
		pod.StepSignalContainer: {15 * time.Second, nil},
		pod.StepRemoveContainer: {2 * time.Minute, removes},
		pod.StepDetachNetwork:   {2 * time.Minute, removes},
		pod.StepRemoveSandbox:   {2 * time.Minute, removes},
		pod.StepRemoveVolumes:   {5 * time.Minute, removes},
		pod.StepDeletePod:       {30 * time.Second, nil},
	}
}
