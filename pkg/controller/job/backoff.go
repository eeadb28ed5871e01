package job

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The wait after a failure doubles with each further one, from backoffFirst to
// backoffMost.
const (
	backoffFirst = 10 * time.Second
	backoffMost  = 10 * time.Minute
)

// Backoff remembers the failures since the last success of a Job. The loop
// keeps it from one decision to the next; losing it only shortens a wait.
type Backoff struct {
	Failures int
	Last     time.Time
}

// after returns the record once these pods have been counted.
func (b Backoff) after(succeeded, failed []*corev1.Pod) Backoff {
	var success time.Time
	for _, p := range succeeded {
		b = Backoff{}
		success = later(success, endOf(p))
	}
	for _, p := range failed {
		if end := endOf(p); success.IsZero() || end.After(success) {
			b.Failures++
			b.Last = later(b.Last, end)
		}
	}
	return b
}

// due is when the next pod may be made after so many failures in a row.
func due(failures int, last time.Time) time.Time {
	if failures == 0 {
		return time.Time{}
	}
	wait := backoffFirst
	for i := 1; i < failures && wait < backoffMost; i++ {
		wait *= 2
	}
	return last.Add(min(wait, backoffMost))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// endOf is when a pod ended: with its last container; where that is not known,
// when it was last seen not ready, or when it was deleted.
func endOf(p *corev1.Pod) time.Time {
	if end, ok := endOfContainers(p); ok {
		return end
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	if p.DeletionTimestamp != nil {
		grace := time.Duration(0)
		if s := p.DeletionGracePeriodSeconds; s != nil {
			grace = time.Duration(*s) * time.Second
		}
		return p.DeletionTimestamp.Add(-grace)
	}
	return p.CreationTimestamp.Time
}

func endOfContainers(p *corev1.Pod) (end time.Time, ok bool) {
	sidecar := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		sidecar[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	see := func(s corev1.ContainerStatus) bool {
		if s.State.Terminated == nil || s.State.Terminated.FinishedAt.IsZero() {
			return false
		}
		end = later(end, s.State.Terminated.FinishedAt.Time)
		return true
	}
	for _, s := range p.Status.ContainerStatuses {
		if !see(s) {
			return end, false
		}
	}
	for _, s := range p.Status.InitContainerStatuses {
		if sidecar[s.Name] && !see(s) {
			return end, false
		}
	}
	return end, !end.IsZero()
}
