package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// GracePeriod is the time between the stop signal and SIGKILL: that of the
// deletion where the pod is being deleted, else that of its spec.
func GracePeriod(p *corev1.Pod) time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := p.DeletionGracePeriodSeconds; s != nil && p.DeletionTimestamp != nil {
		seconds = *s
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

// KillTime is when an attempt that was told to stop at this time is killed. A
// deletion that was asked for before an agent restarted does not get its whole
// grace period again: its deletionTimestamp, when grace is over, bounds it.
// Where even that is past, the attempt gets the whole grace period, as nobody
// told it before.
func KillTime(p *corev1.Pod, stopped time.Time) time.Time {
	kill := stopped.Add(GracePeriod(p))
	if p.DeletionTimestamp == nil {
		return kill
	}
	// The API's times are whole seconds, so one is added.
	if limit := p.DeletionTimestamp.Add(time.Second); limit.After(stopped) && limit.Before(kill) {
		return limit
	}
	return kill
}
