package agent

import (
	"maps"
	"time"

	"golang.org/x/time/rate"

	"github.com/carob-project/carob/pkg/pod"
)

// guard keeps a worker from spinning: a step that succeeds without any effect
// that can be seen would be asked for again at once, and so on.
type guard map[pod.StepID]*rate.Limiter

const (
	guardBurst = 10
	guardEvery = 2 * time.Second
	// guardKeep is how many steps are remembered before those that are not
	// asked for any more are dropped.
	guardKeep = 64
)

// delay counts the step and returns how long it has to wait; zero: it may
// begin now.
func (g guard) delay(id pod.StepID, now time.Time) time.Duration {
	l := g[id]
	if l == nil {
		if len(g) >= guardKeep {
			maps.DeleteFunc(g, func(_ pod.StepID, l *rate.Limiter) bool { return l.TokensAt(now) >= guardBurst })
		}
		l = rate.NewLimiter(rate.Every(guardEvery), guardBurst)
		g[id] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return guardEvery
}
