package statefulset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// Claims are the claims of a pod of the set, by the names of its volumes. They
// are named after the pod's number, so the next pod of that number finds them.
func Claims(set *appsv1.StatefulSet, ordinal int) []*corev1.PersistentVolumeClaim {
	var out []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		c := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.Namespace, c.Name = set.Namespace, claimName(set, c.Name, ordinal)
		c.Labels = maps.Clone(c.Labels)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		c.Status = corev1.PersistentVolumeClaimStatus{}
		out = append(out, c)
	}
	return out
}

func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return template + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// withClaims gives a pod the volumes of its claims, in place of those of the same
// name in its template.
func withClaims(set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) {
	var volumes []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, name, ordinal)},
		}})
	}
	for _, v := range pod.Spec.Volumes {
		if !slices.ContainsFunc(volumes, func(c corev1.Volume) bool { return c.Name == v.Name }) {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = volumes
}

func podKind() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Pod") }

// refers reports whether a reference means the object, or an older one of its
// name.
func refers(ref metav1.OwnerReference, o metav1.Object, kind schema.GroupVersionKind) bool {
	return ref.APIVersion == kind.GroupVersion().String() && ref.Kind == kind.Kind && ref.Name == o.GetName()
}

// stale reports whether the claim is still owned by an earlier object of that
// name, with which it is about to go.
func stale(c *corev1.PersistentVolumeClaim, o metav1.Object, kind schema.GroupVersionKind) bool {
	i := slices.IndexFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool { return refers(r, o, kind) })
	return i >= 0 && c.OwnerReferences[i].UID != o.GetUID()
}

// conflicting reports whether the claim has a controller that is neither the set
// nor the pod. The retention policy is not for such a claim.
func conflicting(c *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, pod *corev1.Pod) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(r metav1.OwnerReference) bool {
		return ptr.Deref(r.Controller, false) && r.UID != set.UID && (pod == nil || r.UID != pod.UID)
	})
}

// Owned returns the claim with the owners that the set's retention policy gives
// it, or nil if it has them. The set owns what goes with it; the pod, while it is
// to be given up, what goes when the set gets smaller. pod is nil for one that is
// not made yet.
func Owned(c *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) *corev1.PersistentVolumeClaim {
	if stale(c, set, controllerKind()) || pod != nil && stale(c, pod, podKind()) {
		return nil
	}
	next := c.DeepCopy()
	next.OwnerReferences = slices.DeleteFunc(next.OwnerReferences, func(r metav1.OwnerReference) bool {
		return refers(r, set, controllerKind()) || pod != nil && refers(r, pod, podKind())
	})
	if !conflicting(c, set, pod) {
		const remove = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		p := ptr.Deref(set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
		condemned := !inRange(set, ordinal)
		switch {
		case p.WhenScaled == remove && condemned:
			if pod != nil {
				next.OwnerReferences = append(next.OwnerReferences, *metav1.NewControllerRef(pod, podKind()))
			}
		case p.WhenDeleted == remove:
			next.OwnerReferences = append(next.OwnerReferences, *metav1.NewControllerRef(set, controllerKind()))
		}
	}
	if sameOwners(next.OwnerReferences, c.OwnerReferences) {
		return nil
	}
	return next
}

// sameOwners compares owners; the order tells nothing.
func sameOwners(a, b []metav1.OwnerReference) bool {
	has := func(in []metav1.OwnerReference, r metav1.OwnerReference) bool {
		return slices.ContainsFunc(in, func(o metav1.OwnerReference) bool {
			return o.UID == r.UID && o.Kind == r.Kind && o.Name == r.Name && ptr.Deref(o.Controller, false) == ptr.Deref(r.Controller, false)
		})
	}
	return len(a) == len(b) && !slices.ContainsFunc(a, func(r metav1.OwnerReference) bool { return !has(b, r) })
}

func inRange(set *appsv1.StatefulSet, ordinal int) bool {
	start := 0
	if set.Spec.Ordinals != nil {
		start = int(set.Spec.Ordinals.Start)
	}
	return ordinal >= start && ordinal < start+int(ptr.Deref(set.Spec.Replicas, 0))
}
