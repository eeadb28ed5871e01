package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reasonNodeLost is the status reason of a pod whose node does not answer.
const reasonNodeLost = "NodeLost"

// summary is a pod in one line.
type summary struct {
	ready, total int
	reason       string
	restarts
	// beside are the restarts of sidecars alone.
	beside restarts
}

// restarts is how often containers were restarted, and when one last was.
type restarts struct {
	count int
	last  metav1.Time
}

// summarize finds the most telling reason: that of the init container that
// holds the pod up, else that of the first container with something to say,
// else the pod's own reason or phase.
func summarize(p *corev1.Pod) summary {
	s := summary{total: len(p.Spec.Containers) + sidecars(p), reason: string(p.Status.Phase)}
	if p.Status.Reason != "" {
		s.reason = p.Status.Reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	if !s.initializing(p) || conditionTrue(p, corev1.PodInitialized) {
		s.addContainers(p)
	}
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == reasonNodeLost:
		s.reason = "Unknown"
	case !ended(p):
		s.reason = "Terminating"
	}
	return s
}

// initializing says whether an init container has not succeeded yet, and
// takes its reason.
func (s *summary) initializing(p *corev1.Pod) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.addRestarts(c)
		beside := sidecar(p, c.Name)
		if beside {
			s.beside.addRestarts(c)
		}
		end, wait := c.State.Terminated, c.State.Waiting
		switch {
		case end != nil && end.ExitCode == 0:
			continue
		case beside && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case end != nil:
			s.reason = "Init:" + endReason(end)
		case wait != nil && wait.Reason != "" && wait.Reason != "PodInitializing":
			s.reason = "Init:" + wait.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

func (s *summary) addContainers(p *corev1.Pod) {
	// Restarts of init containers are of interest only until they are done.
	s.restarts = s.beside
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.addRestarts(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = endReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" || !running {
		return
	}
	s.reason = "NotReady"
	if conditionTrue(p, corev1.PodReady) {
		s.reason = "Running"
	}
}

func (r *restarts) addRestarts(c *corev1.ContainerStatus) {
	r.count += int(c.RestartCount)
	if last := c.LastTerminationState.Terminated; last != nil && r.last.Before(&last.FinishedAt) {
		r.last = last.FinishedAt
	}
}

// sidecars counts the init containers that run beside the others.
func sidecars(p *corev1.Pod) int {
	n := 0
	for i := range p.Spec.InitContainers {
		if sidecar(p, p.Spec.InitContainers[i].Name) {
			n++
		}
	}
	return n
}

func sidecar(p *corev1.Pod, name string) bool {
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.Name == name {
			return restartable(c)
		}
	}
	return false
}

// restartable says whether an init container is a sidecar.
func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func endReason(end *corev1.ContainerStateTerminated) string {
	switch {
	case end.Reason != "":
		return end.Reason
	case end.Signal != 0:
		return fmt.Sprintf("Signal:%d", end.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", end.ExitCode)
	}
}

func conditionTrue(p *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
