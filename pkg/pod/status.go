package pod

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is what the node reports about a pod. It is pure; p.Status is the
// previous status, from which it takes what no observation tells: times of
// transitions, and the state of containers whose attempts have gone. Fields
// and conditions that others own are left as they are. Times are whole
// seconds, as the API keeps them, so that an unchanged status compares equal.
func Status(p *corev1.Pod, o Observed, now time.Time) corev1.PodStatus {
	v := look(p, o, now)
	s := *p.Status.DeepCopy()
	s.ObservedGeneration = p.Generation
	if s.StartTime == nil {
		s.StartTime = ptrTime(now)
	}
	if s.QOSClass == "" {
		s.QOSClass = QOSClass(p)
	}
	v.podResources(&s)
	ended := v.end != nil && !v.alive()
	s.Phase, s.Reason, s.Message = v.phase(ended)
	if v.rejected(&s) {
		v.conditions(&s)
		return s
	}
	if !v.terminal() || p.Status.ContainerStatuses == nil {
		s.InitContainerStatuses = v.containerStatuses(v.inits, ended)
		s.ContainerStatuses = v.containerStatuses(v.apps, ended)
	} else {
		s.InitContainerStatuses = v.settled(s.InitContainerStatuses, v.inits)
		s.ContainerStatuses = v.settled(s.ContainerStatuses, v.apps)
	}
	s.EphemeralContainerStatuses = v.containerStatuses(v.ephemerals, ended)
	v.addresses(&s)
	v.conditions(&s)
	return s
}

// rejected says that the node never took the pod, and that nothing of it was
// ever seen: such a status says nothing about containers.
func (v *view) rejected(s *corev1.PodStatus) bool {
	return s.Phase == corev1.PodFailed && strings.HasPrefix(s.Message, Rejected) &&
		len(v.o.Attempts) == 0 && len(v.pod.Status.ContainerStatuses) == 0
}

// settled keeps the container statuses of a pod that has ended, except where
// one still says that its container lives or waits.
func (v *view) settled(old []corev1.ContainerStatus, units []*unit) []corev1.ContainerStatus {
	if len(old) != len(units) {
		return v.containerStatuses(units, !v.alive())
	}
	for i, u := range units {
		if old[i].Name != u.c.Name || old[i].State.Terminated == nil {
			return v.containerStatuses(units, !v.alive())
		}
	}
	return old
}

// phase decides the phase, and the reason and message beside it. A pod that
// ends keeps its phase until no process is left.
func (v *view) phase(ended bool) (phase corev1.PodPhase, reason, message string) {
	old := v.pod.Status.Phase
	switch {
	case v.terminal():
		return old, v.pod.Status.Reason, v.pod.Status.Message
	case ended:
		return v.endPhase(), v.end.reason, v.end.message
	case old == corev1.PodRunning:
		// All containers have been made once: whatever is made anew now, the
		// pod is one whose containers are being restarted.
		return old, "", ""
	}
	if !v.initialized {
		return corev1.PodPending, "", ""
	}
	for _, u := range v.apps {
		made := u.ended != nil || v.up(u)
		if !made {
			return corev1.PodPending, "", ""
		}
	}
	return corev1.PodRunning, "", ""
}

// addresses fills in those of the node and of the pod. A pod that is ending
// keeps its last ones; one whose sandbox is made anew has none until then.
func (v *view) addresses(s *corev1.PodStatus) {
	if ips := v.o.Node.HostIPs; len(ips) > 0 {
		s.HostIP = ips[0]
		s.HostIPs = make([]corev1.HostIP, 0, len(ips))
		for _, ip := range ips {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	switch {
	case v.whole && v.o.Sandbox.Attached && len(v.o.Sandbox.IPs) > 0:
		s.PodIP = v.o.Sandbox.IPs[0]
		s.PodIPs = make([]corev1.PodIP, 0, len(v.o.Sandbox.IPs))
		for _, ip := range v.o.Sandbox.IPs {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	case v.end == nil:
		s.PodIP, s.PodIPs = "", nil
	}
}

// apiTime cuts a time to what the API keeps of it.
func apiTime(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.Local().Truncate(time.Second))
}

func ptrTime(t time.Time) *metav1.Time {
	a := apiTime(t)
	return &a
}
