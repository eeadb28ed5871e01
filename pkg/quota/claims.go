package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

// ofClass joins the name of a storage class and that of a resource.
const ofClass = ".storageclass.storage.k8s.io/"

// Claims is the Kind of PersistentVolumeClaims.
func Claims() Kind {
	r := corev1.Resource("persistentvolumeclaims")
	own := []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	return Kind{
		Resource: r,
		Tracks: func(name corev1.ResourceName) bool {
			_, of, classed := strings.Cut(string(name), ofClass)
			return name == CountName(r) || slices.Contains(own, name) || classed && slices.Contains(own, corev1.ResourceName(of))
		},
		Usage: func(obj any, _ time.Time) corev1.ResourceList {
			c, ok := obj.(*corev1.PersistentVolumeClaim)
			if !ok {
				return nil
			}
			return claimUsage(c)
		},
		Fits: func(scope corev1.ScopedResourceSelectorRequirement, obj any) bool {
			c, ok := obj.(*corev1.PersistentVolumeClaim)
			return ok && scope.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && claimFits(scope, c)
		},
	}
}

func claimUsage(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	used := ones(CountName(corev1.Resource("persistentvolumeclaims")), corev1.ResourcePersistentVolumeClaims)
	if bytes := claimBytes(c); bytes != nil {
		used[corev1.ResourceRequestsStorage] = *bytes
	}
	class := ptr.Deref(c.Spec.StorageClassName, "")
	if old, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = old
	}
	if class != "" {
		for _, name := range []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage} {
			if amount, ok := used[name]; ok {
				used[corev1.ResourceName(class+ofClass)+name] = amount
			}
		}
	}
	return used
}

// claimBytes is what a claim asks for, or has been given if that is more, in
// whole bytes.
func claimBytes(c *corev1.PersistentVolumeClaim) *resource.Quantity {
	asked, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return nil
	}
	if given, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(asked) > 0 {
		asked = given
	}
	asked = asked.DeepCopy()
	asked.RoundUp(0)
	return &asked
}

// claimFits holds for a claim if it does for one of the attribute classes that
// it has, is getting or should have.
func claimFits(scope corev1.ScopedResourceSelectorRequirement, c *corev1.PersistentVolumeClaim) bool {
	classes := []string{ptr.Deref(c.Spec.VolumeAttributesClassName, ""), ptr.Deref(c.Status.CurrentVolumeAttributesClassName, "")}
	if m := c.Status.ModifyVolumeStatus; m != nil {
		classes = append(classes, m.TargetVolumeAttributesClassName)
	}
	classes = slices.DeleteFunc(classes, func(s string) bool { return s == "" })
	if len(classes) == 0 {
		return selects(scope, "")
	}
	return slices.ContainsFunc(classes, func(class string) bool { return selects(scope, class) })
}
