package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Limited says whether the pod has a limit of the local disk to watch.
func Limited(p *corev1.Pod) bool {
	for i := range p.Spec.Volumes {
		if sizeLimit(&p.Spec.Volumes[i]) != nil {
			return true
		}
	}
	_, ok := storageLimit(p)
	return ok
}

// LimitsStorage says whether one of the pod's containers has a limit of the
// local disk, so that more than its volumes has to be measured.
func LimitsStorage(p *corev1.Pod) bool {
	_, ok := storageLimit(p)
	return ok
}

// sizeLimit returns the limit of an emptyDir on the disk; nil: it has none. One
// in memory cannot exceed its own.
func sizeLimit(v *corev1.Volume) *resource.Quantity {
	if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
		return nil
	}
	if l := v.EmptyDir.SizeLimit; l != nil && l.Sign() > 0 {
		return l
	}
	return nil
}

// storageLimit is the sum of what the containers may take of the disk. A
// container without a limit adds nothing, but its use counts.
func storageLimit(p *corev1.Pod) (resource.Quantity, bool) {
	q, ok := resourcehelper.PodLimits(p, resourcehelper.PodResourcesOptions{})[corev1.ResourceEphemeralStorage]
	return q, ok
}

// OverLimit returns why a pod has to end that takes more of the local disk than
// it may; empty: it need not. ownFS says that the containers' file systems lie
// on a disk of their own: then only their logs count against their limits.
func OverLimit(p *corev1.Pod, u PodUse, ownFS bool) string {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		limit := sizeLimit(v)
		if limit != nil && u.Volumes[v.Name].Bytes > limit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit.String())
		}
	}
	if limit, ok := storageLimit(p); ok {
		total := u.Disk(partAll).Plus(u.Files)
		if total.Bytes > limit.Value() {
			return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
		}
	}
	limits := containerLimits(p)
	for _, c := range u.Containers {
		used := c.Logs.Bytes
		if !ownFS {
			used += c.Rootfs.Bytes
		}
		if limit, ok := limits[c.Name]; ok && used > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
		}
	}
	return ""
}

// containerLimits are those of the app containers and sidecars; an init
// container is bounded by the pod's sum only.
func containerLimits(p *corev1.Pod) map[string]*resource.Quantity {
	limits := map[string]*resource.Quantity{}
	add := func(c *corev1.Container) {
		if l := c.Resources.Limits.StorageEphemeral(); !l.IsZero() {
			limits[c.Name] = l
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return limits
}
