package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
	r := Resources{CPUShares: shares(request.MilliValue()), MemoryLimit: memory.Value(), HugePages: containerHugePages(p, c)}
	r.CPUQuota, r.CPUPeriod = quota(cpu.MilliValue())
	return r
}

// PodResources returns those of the pod's cgroup: what the pod itself sets,
// else the sum of its containers, or what the largest init container asks for.
// A sum of limits holds only where every container has one. What the pod's
// runtime itself needs (spec.overhead) is added.
func PodResources(p *corev1.Pod) Resources {
	request := podSum(p, cpuRequest)
	if own := podLevel(p); own != nil {
		if q, ok := own.Requests[corev1.ResourceCPU]; ok {
			request = q.MilliValue()
		}
	}
	overhead := p.Spec.Overhead
	r := Resources{CPUShares: shares(request + overhead.Cpu().MilliValue()), HugePages: podHugePages(p)}
	cpu := wholeLimit(p, corev1.ResourceCPU, (*resource.Quantity).MilliValue)
	if cpu > 0 {
		r.CPUQuota, r.CPUPeriod = quota(cpu + overhead.Cpu().MilliValue())
	}
	if memory := wholeLimit(p, corev1.ResourceMemory, (*resource.Quantity).Value); memory > 0 {
		r.MemoryLimit = memory + overhead.Memory().Value()
	}
	return r
}

// wholeLimit is the limit of the whole pod in the unit of value; zero: it has none.
func wholeLimit(p *corev1.Pod, name corev1.ResourceName, value func(*resource.Quantity) int64) int64 {
	if own := podLimit(p, name); !own.IsZero() {
		return value(&own)
	}
	if !limited(p, name) {
		return 0
	}
	return podSum(p, func(c *corev1.Container) int64 {
		q := c.Resources.Limits[name]
		return value(&q)
	})
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

// Shares are the CPU shares of so many thousandths of a CPU.
func Shares(milli int64) uint64 { return shares(milli) }

func shares(milli int64) uint64 {
	return uint64(min(max(milli*sharesPerCPU/1000, minShares), maxShares))
}

func quota(milli int64) (int64, uint64) {
	if milli <= 0 {
		return 0, 0
	}
	return max(milli*cpuPeriod/1000, minQuota), cpuPeriod
}
