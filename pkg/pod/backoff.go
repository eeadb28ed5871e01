package pod

import "time"

// Times of the engine.
const (
	// RestartDelayBase and RestartDelayMax bound the back-off between the
	// end of a container and its next start; the first restart does not wait.
	RestartDelayBase = 10 * time.Second
	RestartDelayMax  = 5 * time.Minute
	// StreakReset is how long an attempt has to run for the back-off to
	// begin anew.
	StreakReset = 10 * time.Minute
	// PullDelayBase and PullDelayMax bound the back-off of image pulls.
	PullDelayBase = 10 * time.Second
	PullDelayMax  = 5 * time.Minute
	// RetryDelayBase and RetryDelayMax bound the back-off of other steps.
	RetryDelayBase = time.Second
	RetryDelayMax  = 30 * time.Second
	// MinStop is how long an attempt has after its stop signal, however much
	// of the grace period its hook or its turn took.
	MinStop = 2 * time.Second
	// KillRetry is when SIGKILL is sent again to what still lives.
	KillRetry = 10 * time.Second

	// imageRecheck is how often a missing image that may not be pulled is
	// looked for.
	imageRecheck = 10 * time.Second
	// pullErrorShown is how long a failed pull shows its own error before
	// the status says that it is backed off.
	pullErrorShown = 5 * time.Second
)

// double returns base doubled n-1 times and at most limit; n < 1 gives 0.
func double(base, limit time.Duration, n int) time.Duration {
	if n < 1 {
		return 0
	}
	d := base
	for range n - 1 {
		if d *= 2; d >= limit {
			return limit
		}
	}
	return min(d, limit)
}

// RestartDelay is how long after the end of its predecessor an attempt with
// this streak may start.
func RestartDelay(streak int) time.Duration {
	return double(RestartDelayBase, RestartDelayMax, streak-1)
}

// nextStreak is the streak of the attempt that follows a.
func nextStreak(a *Attempt) int {
	if a.Exit != nil && !a.StartedAt.IsZero() && a.Exit.FinishedAt.Sub(a.StartedAt) >= StreakReset {
		return 1
	}
	return a.Streak + 1
}

// retryAt is when a failed step may begin again; ok is false where it never
// should.
func retryAt(kind StepKind, f Failure) (at time.Time, ok bool) {
	if kind == StepPullImage {
		return f.At.Add(double(PullDelayBase, PullDelayMax, max(f.Count, 1))), !f.Final
	}
	if f.Final {
		// What made it final may change without the step's identity.
		return f.At.Add(PullDelayMax), true
	}
	return f.At.Add(double(RetryDelayBase, RetryDelayMax, max(f.Count, 1))), true
}
