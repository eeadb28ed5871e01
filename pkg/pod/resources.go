package pod

import (
	corev1 "k8s.io/api/core/v1"
)

// Units of the kernel's CPU controller.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	cpuPeriod    = 100_000
	minQuota     = 1_000
)

// ResourcesFor returns what a container's requests and limits mean to the
// kernel. What the container does not limit, the limit of its pod does. A
// container without a CPU request has the least shares there are, unless a
// limit stands in for it.
func ResourcesFor(p *corev1.Pod, c *corev1.Container) Resources {
	cpu, memory := limitOf(p, c, corev1.ResourceCPU), limitOf(p, c, corev1.ResourceMemory)
	request, ok := c.Resources.Requests[corev1.ResourceCPU]
	if !ok {
		request = cpu
	}
	r := Resources{CPUShares: shares(request.MilliValue()), MemoryLimit: memory.Value()}
	r.CPUQuota, r.CPUPeriod = quota(cpu.MilliValue())
	return r
}

// PodResources returns those of the pod's cgroup: what the pod itself sets,
// else the sum of its containers, or what the largest init container asks for.
// A sum of limits holds only where every container has one.
func PodResources(p *corev1.Pod) Resources {
	r := Resources{CPUShares: shares(podSum(p, cpuRequest))}
	if own := podLevel(p); own != nil {
		if request, ok := own.Requests[corev1.ResourceCPU]; ok {
			r.CPUShares = shares(request.MilliValue())
		}
	}
	cpu, memory := podLimit(p, corev1.ResourceCPU), podLimit(p, corev1.ResourceMemory)
	switch {
	case !cpu.IsZero():
		r.CPUQuota, r.CPUPeriod = quota(cpu.MilliValue())
	case limited(p, corev1.ResourceCPU):
		r.CPUQuota, r.CPUPeriod = quota(podSum(p, func(c *corev1.Container) int64 {
			return c.Resources.Limits.Cpu().MilliValue()
		}))
	}
	switch {
	case !memory.IsZero():
		r.MemoryLimit = memory.Value()
	case limited(p, corev1.ResourceMemory):
		r.MemoryLimit = podSum(p, func(c *corev1.Container) int64 { return c.Resources.Limits.Memory().Value() })
	}
	return r
}

func cpuRequest(c *corev1.Container) int64 {
	if q, ok := c.Resources.Requests[corev1.ResourceCPU]; ok {
		return q.MilliValue()
	}
	return c.Resources.Limits.Cpu().MilliValue()
}

// podSum adds what the app containers and sidecars use together. An init
// container runs beside the sidecars before it only, so that the largest of
// these sums counts.
func podSum(p *corev1.Pod, of func(*corev1.Container) int64) int64 {
	var sum, beside, largest int64
	for i := range p.Spec.Containers {
		sum += of(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if isSidecar(c) {
			beside += of(c)
			continue
		}
		largest = max(largest, beside+of(c))
	}
	return max(sum+beside, largest)
}

func limited(p *corev1.Pod, name corev1.ResourceName) bool {
	for c := range containers(p) {
		l := c.Resources.Limits[name]
		if l.IsZero() {
			return false
		}
	}
	return true
}

func shares(milli int64) uint64 {
	return uint64(min(max(milli*sharesPerCPU/1000, minShares), maxShares))
}

func quota(milli int64) (int64, uint64) {
	if milli <= 0 {
		return 0, 0
	}
	return max(milli*cpuPeriod/1000, minQuota), cpuPeriod
}
