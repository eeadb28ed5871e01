package disruption

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// stale says whether a pod tells that it is about to be disrupted and is not
// being deleted, and how long it may still tell so. What the node itself
// announced stands, and an ended pod keeps what it said last.
func stale(p *corev1.Pod, now time.Time) (in time.Duration, ok bool) {
	if !workload.Active(p) {
		return 0, false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet {
			return max(0, c.LastTransitionTime.Add(patience).Sub(now)), true
		}
	}
	return 0, false
}

// calmed is the status of a pod that is not to be disrupted after all.
func calmed(p *corev1.Pod, now time.Time) corev1.PodStatus {
	s := *p.Status.DeepCopy()
	for i, c := range s.Conditions {
		if c.Type == corev1.DisruptionTarget {
			s.Conditions[i] = corev1.PodCondition{
				Type: c.Type, Status: corev1.ConditionFalse,
				LastTransitionTime: metav1.NewTime(now), ObservedGeneration: c.ObservedGeneration,
			}
		}
	}
	return s
}

// threatened wakes the look at a pod that is said to be disrupted.
func (c *Controller) threatened(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	if in, ok := stale(p, time.Now()); ok {
		c.stale.AddAfter(workload.Key(p), in)
	}
}

// calm takes back from a pod what was said of it and did not come.
func (c *Controller) calm(ctx context.Context, key string) error {
	obj, exists, err := c.pods.GetByKey(key)
	p, ok := obj.(*corev1.Pod)
	if err != nil || !exists || !ok {
		return err
	}
	now := time.Now()
	in, due := stale(p, now)
	if !due {
		return nil
	}
	if in > 0 {
		c.stale.AddAfter(key, in)
		return nil
	}
	next := p.DeepCopy()
	next.Status = calmed(p, now)
	_, err = c.client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return workload.Outdated(err)
}
