package pod

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podLevel returns what a pod sets for all its containers together; nil where
// it sets nothing.
func podLevel(p *corev1.Pod) *corev1.ResourceRequirements {
	if r := p.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		return r
	}
	return nil
}

// podLimit is what a pod allows all its containers together of a resource;
// zero where it says nothing.
func podLimit(p *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	if r := podLevel(p); r != nil {
		return r.Limits[name]
	}
	return resource.Quantity{}
}

// limitOf is a container's own limit, or else that of its pod.
func limitOf(p *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	if l := c.Resources.Limits[name]; !l.IsZero() {
		return l
	}
	return podLimit(p, name)
}

// spareMemory is each container's share of the memory that the pod requests
// beyond what its containers do.
func spareMemory(p *corev1.Pod) int64 {
	r := podLevel(p)
	if r == nil || r.Requests.Memory().IsZero() {
		return 0
	}
	asked := resourcehelper.AggregateContainerRequests(p, resourcehelper.PodResourcesOptions{})
	spare := max(r.Requests.Memory().Value()-asked.Memory().Value(), 0)
	return spare / int64(len(p.Spec.Containers)+len(p.Spec.InitContainers))
}
