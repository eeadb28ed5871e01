package pod

import (
	"math"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// MemoryQoS says how cgroup v2 is to treat the memory of pods below their
// limits, as the feature of that name in Kubernetes does. The zero value leaves
// everything to the limits.
type MemoryQoS struct {
	// ThrottlingFactor is the part of the way from a request to its limit at
	// which the kernel begins to reclaim and to throttle, more than 0 and at
	// most 1; 0: it does neither before the limit.
	ThrottlingFactor float64
	// Reserve keeps what pods request from being reclaimed: that of Guaranteed
	// pods always, that of Burstable ones as long as there is other memory.
	Reserve bool
}

// none stands for a setting that is not to be: it takes away what is there.
const none = Unlimited

// Container adds to the resources of a container. allocatable is the node's
// memory for pods in bytes, which a container without a limit is measured by; 0
// where it is not known.
func (q MemoryQoS) Container(r Resources, p *corev1.Pod, c *corev1.Container, allocatable int64) Resources {
	request, limit := c.Resources.Requests.Memory().Value(), c.Resources.Limits.Memory().Value()
	r = q.reserve(r, p, request)
	if q.ThrottlingFactor == 0 {
		return r
	}
	r.MemoryHigh = none
	if limit == 0 {
		if whole := podLimit(p, corev1.ResourceMemory); !whole.IsZero() {
			return r // the group of the pod throttles all that is in it
		}
		limit = allocatable
	}
	r.MemoryHigh = q.high(request, limit)
	return r
}

// Pod adds to the resources of the group of a pod. It throttles as a whole only
// where the pod itself sets resources: its containers do otherwise.
func (q MemoryQoS) Pod(r Resources, p *corev1.Pod) Resources {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	request := requests.Memory().Value()
	r = q.reserve(r, p, request)
	if q.ThrottlingFactor == 0 {
		return r
	}
	r.MemoryHigh = none
	if podLevel(p) != nil && r.MemoryLimit > 0 {
		r.MemoryHigh = q.high(request, r.MemoryLimit)
	}
	return r
}

func (q MemoryQoS) reserve(r Resources, p *corev1.Pod, request int64) Resources {
	if !q.Reserve {
		return r
	}
	r.MemoryMin, r.MemoryLow = none, none
	switch {
	case request == 0:
	case QOSClass(p) == corev1.PodQOSGuaranteed:
		r.MemoryMin = request
	default:
		r.MemoryLow = request
	}
	return r
}

// high is where throttling begins, in whole pages. Where all of a limit is
// requested there is nothing between the two.
func (q MemoryQoS) high(request, limit int64) int64 {
	if limit == 0 || request == limit {
		return none
	}
	page := int64(os.Getpagesize())
	at := math.Floor(float64(request) + float64(limit-request)*q.ThrottlingFactor)
	if high := int64(at/float64(page)) * page; high > request {
		return high
	}
	return none
}

// MemoryFiles are the control files of cgroup v2 that throttle and protect
// memory, with their values; none where r says nothing of it.
func MemoryFiles(r Resources) map[string]string {
	out := map[string]string{}
	switch {
	case r.MemoryHigh < 0:
		out["memory.high"] = "max"
	case r.MemoryHigh > 0:
		out["memory.high"] = strconv.FormatInt(r.MemoryHigh, 10)
	}
	for file, n := range map[string]int64{"memory.min": r.MemoryMin, "memory.low": r.MemoryLow} {
		if n != 0 {
			out[file] = strconv.FormatInt(max(n, 0), 10)
		}
	}
	return out
}
