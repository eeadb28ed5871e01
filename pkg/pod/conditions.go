package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Reasons of conditions, as Kubernetes' clients know them.
const (
	reasonPodCompleted      = "PodCompleted"
	reasonPodFailed         = "PodFailed"
	reasonNotReady          = "ContainersNotReady"
	reasonNotInitialized    = "ContainersNotInitialized"
	reasonUnknownContainers = "UnknownContainerStatuses"
)

// conditions sets the node's conditions from the rest of the status. Those of
// others stay behind them.
func (v *view) conditions(s *corev1.PodStatus) {
	ready := v.readyCondition(s)
	podReady := ready
	podReady.Type = corev1.PodReady
	attached := v.whole && v.o.Sandbox.Attached
	own := []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: boolStatus(attached && (v.end == nil || v.alive()))},
		v.initializedCondition(s), podReady, ready,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	old := v.pod.Status.Conditions
	l := make([]corev1.PodCondition, 0, len(own)+1)
	for _, c := range own {
		prev := slices.IndexFunc(old, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		if prev >= 0 && c.Type == corev1.PodScheduled {
			// It is the scheduler's; a bound pod only lacks it where it was
			// bound by hand.
			l = append(l, old[prev])
			continue
		}
		c.ObservedGeneration = v.pod.Generation
		if prev >= 0 && old[prev].Status == c.Status {
			c.LastTransitionTime = old[prev].LastTransitionTime
		} else {
			c.LastTransitionTime = apiTime(v.now)
		}
		l = append(l, c)
	}
	for _, c := range old {
		if !slices.ContainsFunc(own, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
			l = append(l, c)
		}
	}
	s.Conditions = l
}

func (v *view) readyCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = reasonPodCompleted
		return c
	case corev1.PodFailed:
		c.Reason = reasonPodFailed
		return c
	}
	if len(s.ContainerStatuses) == 0 {
		c.Reason = reasonUnknownContainers
		return c
	}
	var unready []string
	for _, cs := range s.ContainerStatuses {
		if !cs.Ready {
			unready = append(unready, cs.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason = reasonNotReady
		c.Message = fmt.Sprintf("containers with unready status: %v", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

func (v *view) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = reasonPodCompleted
		return c
	}
	if v.initialized {
		return c
	}
	var incomplete []string
	for _, u := range v.inits {
		if !v.initDone(u) {
			incomplete = append(incomplete, u.c.Name)
		}
	}
	c.Status, c.Reason = corev1.ConditionFalse, reasonNotInitialized
	c.Message = fmt.Sprintf("containers with incomplete status: %v", incomplete)
	return c
}

func boolStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
