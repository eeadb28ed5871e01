package probe

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tries is how often a probe that cannot be carried out is tried in a row.
const tries = 3

// Timetable says when a probe runs and when it is over.
type Timetable struct {
	// Probe has delays, periods and thresholds.
	Probe *corev1.Probe
	// StartedAt is when the container was started; the initial delay counts
	// from there.
	StartedAt time.Time
	// First is the verdict that holds before the first result.
	First Verdict
	// Last says whether no more probes follow a verdict; nil: they go on.
	Last func(Verdict) bool
}

// Loop probes until ctx ends or a verdict is the last. try carries one probe
// out; tell is called with each new verdict, in order.
func Loop(ctx context.Context, t Timetable, try func(context.Context) Result, tell func(Verdict)) {
	s := State{SuccessThreshold: t.Probe.SuccessThreshold, FailureThreshold: t.Probe.FailureThreshold, Verdict: t.First}
	begin := t.StartedAt.Add(time.Duration(t.Probe.InitialDelaySeconds) * time.Second)
	timer := time.NewTimer(max(time.Until(begin), 0))
	defer timer.Stop()
	period := time.Duration(max(t.Probe.PeriodSeconds, 1)) * time.Second
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		r := attempt(ctx, try)
		if ctx.Err() != nil {
			return
		}
		if s.Take(r.Outcome) {
			tell(s.Verdict)
			if t.Last != nil && t.Last(s.Verdict) {
				return
			}
		}
		timer.Reset(max(period-time.Since(began), 0))
	}
}

func attempt(ctx context.Context, try func(context.Context) Result) Result {
	var r Result
	for range tries {
		if r = try(ctx); r.Outcome != Unknown || ctx.Err() != nil {
			break
		}
	}
	return r
}
