package pod

import (
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// QOSClass is the class that the requests and limits for cpu and memory give a
// pod: its own where it has any, else those of all containers.
func QOSClass(p *corev1.Pod) corev1.PodQOSClass {
	asks, guaranteed := false, true
	judge := func(r *corev1.ResourceRequirements) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			asks = asks || !request.IsZero() || !limit.IsZero()
			if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	if own := podLevel(p); own != nil {
		judge(own)
	} else {
		for c := range containers(p) {
			judge(&c.Resources)
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// containers yields all containers of a pod, init containers first.
func containers(p *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, l := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range l {
				if !yield(&l[i]) {
					return
				}
			}
		}
	}
}

// AllContainers yields every container of a pod: init containers, the others,
// and those that debug it.
func AllContainers(p *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for c := range containers(p) {
			if !yield(c) {
				return
			}
		}
		for i := range p.Spec.EphemeralContainers {
			if !yield(asContainer(&p.Spec.EphemeralContainers[i])) {
				return
			}
		}
	}
}

// OOM scores of Kubernetes: the kernel kills the highest one first.
const (
	guaranteedOOMScore = -997
	bestEffortOOMScore = 1000
)

// OOMScoreAdj is the score for a container's process. A burstable container
// scores the lower, the more of the node's memory it requests, its share of the
// pod's own request included; a sidecar never scores above the app containers
// it serves. nodeMemory is the node's capacity in bytes.
func OOMScoreAdj(p *corev1.Pod, c *corev1.Container, nodeMemory int64) int {
	switch QOSClass(p) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOMScore
	case corev1.PodQOSBestEffort:
		return bestEffortOOMScore
	}
	if nodeMemory <= 0 {
		return bestEffortOOMScore - 1
	}
	request := memoryRequest(c)
	if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways && len(p.Spec.Containers) > 0 {
		least := memoryRequest(&p.Spec.Containers[0])
		for i := range p.Spec.Containers {
			least = min(least, memoryRequest(&p.Spec.Containers[i]))
		}
		request = max(request, least)
	}
	request = min(request+spareMemory(p), nodeMemory)
	score := 1000 - int(1000*request/nodeMemory)
	// Above every guaranteed pod, and below every best-effort one.
	return min(max(score, 1000+guaranteedOOMScore), bestEffortOOMScore-1)
}

// memoryRequest is the limit where a limit is set and no request.
func memoryRequest(c *corev1.Container) int64 {
	if r, ok := c.Resources.Requests[corev1.ResourceMemory]; ok {
		return r.Value()
	}
	return c.Resources.Limits.Memory().Value()
}

// CgroupName is the path of the pod's cgroup below carob's own, in Kubernetes'
// layout.
func CgroupName(p *corev1.Pod) string {
	parts := []string{"kubepods"}
	switch QOSClass(p) {
	case corev1.PodQOSBurstable:
		parts = append(parts, "burstable")
	case corev1.PodQOSBestEffort:
		parts = append(parts, "besteffort")
	}
	return path.Join(slices.Concat(parts, []string{"pod" + string(p.UID)})...)
}
