package persistentvolumeclaim

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(c *corev1.PersistentVolumeClaim) {
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			prepareSources(&c.Spec)
		},
		PrepareUpdate: func(c, old *corev1.PersistentVolumeClaim) {
			c.Status = old.Status
			prepareSources(&c.Spec)
		},
		Validate: func(_ context.Context, c *corev1.PersistentVolumeClaim) field.ErrorList {
			return append(ValidateSpec(&c.Spec, field.NewPath("spec")), RefuseSpec(&c.Spec, field.NewPath("spec"))...)
		},
		ValidateUpdate: func(_ context.Context, c, old *corev1.PersistentVolumeClaim) field.ErrorList {
			return append(ValidateSpec(&c.Spec, field.NewPath("spec")), validateUpdate(c, old)...)
		},
		Warnings: func(c *corev1.PersistentVolumeClaim) []string {
			var out []string
			if _, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
				out = append(out, fmt.Sprintf(`%s: deprecated since v1.8; use "storageClassName" attribute instead`,
					field.NewPath("metadata", "annotations").Key(corev1.BetaStorageClassAnnotation)))
			}
			return append(out, SpecWarnings(&c.Spec, field.NewPath("spec"))...)
		},
	}
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(c, old *corev1.PersistentVolumeClaim) { c.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, c, _ *corev1.PersistentVolumeClaim) field.ErrorList {
			return validateStatus(c)
		},
	}
}

// prepareSources drops what Kubernetes drops: a source in another namespace, as
// that is off there by default.
func prepareSources(s *corev1.PersistentVolumeClaimSpec) {
	if r := s.DataSourceRef; r != nil && r.Namespace != nil && *r.Namespace != "" {
		s.DataSourceRef = nil
	}
}

// validateUpdate allows three changes: the volume is named once; a class is
// given to a claim that has none; and the size of a bound claim changes, though
// never to what it has already or less.
func validateUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	now, was := c.DeepCopy(), old.DeepCopy()
	if old.Spec.VolumeName == "" {
		was.Spec.VolumeName = now.Spec.VolumeName
	}
	var errs field.ErrorList
	oldClass, hadAnnotation := old.Annotations[corev1.BetaStorageClassAnnotation]
	newClass, hasAnnotation := c.Annotations[corev1.BetaStorageClassAnnotation]
	classGiven := old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil
	fromAnnotation := hadAnnotation && classGiven && *c.Spec.StorageClassName == oldClass
	if !fromAnnotation || hasAnnotation && newClass != oldClass {
		errs = append(errs, immutableAnnotation(newClass, oldClass)...)
	}
	if classGiven && (!hadAnnotation || fromAnnotation) {
		now.Spec.StorageClassName = nil
	}
	if c.Status.Phase == corev1.ClaimBound {
		if now.Spec.Resources.Requests != nil {
			now.Spec.Resources.Requests[corev1.ResourceStorage] = old.Spec.Resources.Requests[corev1.ResourceStorage]
		}
		now.Spec.VolumeAttributesClassName = was.Spec.VolumeAttributesClassName
	}
	if !same(now.Spec, was.Spec) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), fmt.Sprintf(
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v",
			diff.Diff(was.Spec, now.Spec))))
	}
	before, after := old.Spec.Resources.Requests[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage]
	has := old.Status.Capacity[corev1.ResourceStorage]
	if after.Cmp(before) < 0 && after.Cmp(has) <= 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity"))
	}
	return append(errs, apivalidation.ValidateImmutableField(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
}

func immutableAnnotation(now, was string) field.ErrorList {
	if now == was {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation), now, apivalidation.FieldImmutableErrorMsg)}
}
