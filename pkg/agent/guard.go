package agent

import (
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
)

// delay counts the step and returns how long it has to wait; zero: it may
// begin now.
func (g guard) delay(id pod.StepID, now time.Time) time.Duration {
	l := g[id]
	if l == nil {
		l = rate.NewLimiter(rate.Every(guardEvery), guardBurst)
		g[id] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return guardEvery
}
