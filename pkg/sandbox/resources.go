package sandbox

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/carob-project/carob/pkg/pod"
)

// The kernel's CPU bandwidth period that Kubernetes uses, and the least shares
// and quota that the kernel takes.
const (
	cpuPeriod = 100_000
	minShares = 2
	maxShares = 262144
	minQuota  = 1000
)

// Resources returns what the cgroup of a pod gets: shares from the sum of its
// requests, and limits where every container has one. Init containers count as
// the Kubernetes documentation says.
func Resources(p *corev1.Pod) pod.Resources {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})
	milli := requests.Cpu().MilliValue()
	r := pod.Resources{CPUShares: minShares}
	if milli > 0 {
		r.CPUShares = uint64(min(max(milli*1024/1000, minShares), maxShares)) //nolint:gosec // within bounds
	}
	if cpu := limits.Cpu().MilliValue(); cpu > 0 && limited(p, corev1.ResourceCPU) {
		r.CPUPeriod = cpuPeriod
		r.CPUQuota = max(cpu*cpuPeriod/1000, minQuota)
	}
	if memory := limits.Memory().Value(); memory > 0 && limited(p, corev1.ResourceMemory) {
		r.MemoryLimit = memory
	}
	return r
}

// limited says whether every container has a limit of that resource.
func limited(p *corev1.Pod, name corev1.ResourceName) bool {
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			if q, ok := c.Resources.Limits[name]; !ok || q.IsZero() {
				return false
			}
		}
	}
	return true
}

// qosClass returns the class in the pod's status, which its creation sets, or
// works it out: Guaranteed where requests equal limits throughout, BestEffort
// where there are neither.
func qosClass(p *corev1.Pod) corev1.PodQOSClass {
	if p.Status.QOSClass != "" {
		return p.Status.QOSClass
	}
	guaranteed, anything := true, false
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
				if !request.IsZero() || !limit.IsZero() {
					anything = true
				}
				if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
					guaranteed = false
				}
			}
		}
	}
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}
