package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Reasons of conditions, as Kubernetes' clients know them.
const (
	reasonPodCompleted      = "PodCompleted"
	reasonPodFailed         = "PodFailed"
	reasonNotReady          = "ContainersNotReady"
	reasonNotInitialized    = "ContainersNotInitialized"
	reasonGatesNotReady     = "ReadinessGatesNotReady"
	reasonUnknownContainers = "UnknownContainerStatuses"
	reasonSandboxNotReady   = "PodSandboxNotReady"
	reasonRestartAllStarted = "RestartAllContainersStarted"

	reasonByNode = "TerminationByKubelet"
)

// conditions sets the node's conditions from the rest of the status. Those of
// others stay, and come first as they do in Kubernetes.
func (v *view) conditions(s *corev1.PodStatus) {
	ready := v.readyCondition(s)
	podReady := v.podReady(ready)
	own := []corev1.PodCondition{
		v.sandboxCondition(), v.initializedCondition(s), podReady, ready,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if RestartsAll(&v.pod.Spec) {
		own = append(own, v.restartingCondition(s))
	}
	old := v.pod.Status.Conditions
	l := make([]corev1.PodCondition, 0, len(own)+len(old)+1)
	for _, c := range old {
		if !OfResize(c.Type) && !slices.ContainsFunc(own, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
			l = append(l, c)
		}
	}
	l = append(l, v.resizeConditions()...)
	if e := v.o.Evicted; e != nil && e.Disrupts && !slices.ContainsFunc(l, disrupting) {
		// One that was taken back says no more.
		l = append(slices.DeleteFunc(l, isDisruption), corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reasonByNode, Message: e.Message,
			ObservedGeneration: v.pod.Generation, LastTransitionTime: apiTime(v.now),
		})
	}
	for _, c := range own {
		prev := slices.IndexFunc(old, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		if prev >= 0 && c.Type == corev1.PodScheduled {
			// It is the scheduler's; a bound pod only lacks it where it was
			// bound by hand.
			scheduled := old[prev]
			scheduled.ObservedGeneration = v.pod.Generation
			l = append(l, scheduled)
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
	s.Conditions = l
}

// sandboxCondition says whether containers can be started in the sandbox, and
// if not what it lacks.
func (v *view) sandboxCondition() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, Reason: reasonSandboxNotReady}
	switch {
	case v.o.Sandbox == nil:
		c.Message = "no pod sandbox exists"
	case !v.whole || v.end != nil && !v.alive():
		c.Message = "pod sandbox is not ready"
	case !v.o.Sandbox.Attached:
		c.Message = "pod sandbox has no IP address"
	default:
		return corev1.PodCondition{Type: c.Type, Status: corev1.ConditionTrue}
	}
	return c
}

func disrupting(c corev1.PodCondition) bool {
	return isDisruption(c) && c.Status == corev1.ConditionTrue
}

func isDisruption(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }

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
	for i, u := range v.inits {
		if u.sidecar && i < len(s.InitContainerStatuses) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, u.c.Name)
		}
	}
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

// podReady is the Ready condition: that of the containers, and the readiness
// gates, whose conditions others write.
func (v *view) podReady(containers corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var closed []string
	for _, g := range v.pod.Spec.ReadinessGates {
		i := slices.IndexFunc(v.pod.Status.Conditions, func(o corev1.PodCondition) bool { return o.Type == g.ConditionType })
		switch {
		case i < 0:
			closed = append(closed, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		case v.pod.Status.Conditions[i].Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v",
				g.ConditionType, v.pod.Status.Conditions[i].Status))
		}
	}
	if len(closed) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonGatesNotReady, strings.Join(closed, ", ")
	}
	return c
}

func (v *view) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = reasonPodCompleted
		return c
	}
	// A pod that was initialized stays so, whatever runs again.
	if v.initialized || conditionIs(v.pod.Status.Conditions, corev1.PodInitialized, corev1.ConditionTrue) {
		return c
	}
	var incomplete []string
	for _, u := range v.inits {
		if !v.passed(u) {
			incomplete = append(incomplete, u.c.Name)
		}
	}
	c.Status, c.Reason = corev1.ConditionFalse, reasonNotInitialized
	c.Message = fmt.Sprintf("containers with incomplete status: %v", incomplete)
	return c
}

// restartingCondition says whether all containers are being taken down to begin
// anew.
func (v *view) restartingCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = reasonPodCompleted
	case s.Phase == corev1.PodFailed:
		c.Reason = reasonPodFailed
	case v.end == nil && v.resetAlive():
		c.Status, c.Reason = corev1.ConditionTrue, reasonRestartAllStarted
		c.Message = "container exited with restart policy rule"
	}
	return c
}

func conditionIs(l []corev1.PodCondition, t corev1.PodConditionType, s corev1.ConditionStatus) bool {
	return slices.ContainsFunc(l, func(c corev1.PodCondition) bool { return c.Type == t && c.Status == s })
}
