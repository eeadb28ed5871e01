package pod

import (
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

const immutableSpec = "pod updates may not change fields other than " +
	"`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// ValidateUpdate returns what is wrong with a change of a pod. Metadata is
// checked by the generic registry. A spec that did not change is not checked
// again, so that a pod from an earlier version can still lose a finalizer.
func ValidateUpdate(p, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	changed := !apiequality.Semantic.DeepEqual(p.Spec, old.Spec)
	errs := kind.ValidateFinalizers(p.Finalizers, field.NewPath("metadata", "finalizers"))
	notes := checkedAnnotations(p, old)
	errs = append(errs, validateAnnotations(notes, &p.Spec, field.NewPath("metadata", "annotations"))...)
	if changed {
		errs = append(errs, validatePodSpec(&p.Spec, path)...)
	}
	errs = append(errs, validateAnnotationsUpdate(p.Annotations, old.Annotations, field.NewPath("metadata", "annotations"))...)
	if !changed {
		return errs
	}
	// From the first of these on that is wrong, Kubernetes says no more.
	for _, check := range []func() field.ErrorList{
		func() field.ErrorList {
			return validateSameCount(p.Spec.Containers, old.Spec.Containers, path.Child("containers"))
		},
		func() field.ErrorList {
			return validateSameCount(p.Spec.InitContainers, old.Spec.InitContainers, path.Child("initContainers"))
		},
		func() field.ErrorList { return validateDeadlineUpdate(&p.Spec, &old.Spec, path) },
	} {
		if bad := check(); len(bad) > 0 {
			return append(errs, bad...)
		}
	}
	if old.Spec.ActiveDeadlineSeconds != nil && p.Spec.ActiveDeadlineSeconds == nil {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), p.Spec.ActiveDeadlineSeconds,
			"must not update from a positive integer to nil value"))
	}
	errs = append(errs, validateTolerationUpdate(p.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(&p.Spec, &old.Spec, path)...)
	if rest := withMutableFieldsOf(&p.Spec, &old.Spec); !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(path, immutableSpec+"\n"+diff.Diff(kind.GoNames{Value: old.Spec}, kind.GoNames{Value: *rest})))
	}
	return errs
}

// checkedAnnotations are those of an update that have to be right. A wrong cost
// that is there already may stay.
func checkedAnnotations(p, old *corev1.Pod) map[string]string {
	cost, ok := old.Annotations[corev1.PodDeletionCost]
	if !ok || validCost(cost) {
		return p.Annotations
	}
	notes := maps.Clone(p.Annotations)
	delete(notes, corev1.PodDeletionCost)
	return notes
}

// validateAnnotationsUpdate: some annotations are there from the beginning or
// never.
func validateAnnotationsUpdate(now, old map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	fixed := func(key string) string {
		switch {
		case strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix):
			return "AppArmor annotations"
		case key == mirrorAnnotation:
			return "mirror pod annotation"
		}
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		if value, ok := now[key]; fixed(key) != "" && (!ok || value != old[key]) {
			errs = append(errs, field.Forbidden(at.Key(key), "may not remove or update "+fixed(key)))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if _, ok := old[key]; fixed(key) != "" && !ok {
			errs = append(errs, field.Forbidden(at.Key(key), "may not add "+fixed(key)))
		}
	}
	return errs
}

func validateSameCount(now, old []corev1.Container, at *field.Path) field.ErrorList {
	if len(now) == len(old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, "pod updates may not add or remove containers")}
}

// withMutableFieldsOf returns the new spec with the old values of what may
// change, so that only forbidden changes are left. The lists of containers
// are of equal length.
func withMutableFieldsOf(s, old *corev1.PodSpec) *corev1.PodSpec {
	rest := s.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	rest.Tolerations = old.Tolerations
	rest.SchedulingGates = old.SchedulingGates
	if len(old.SchedulingGates) > 0 {
		rest.NodeSelector = old.NodeSelector
		restoreNodeAffinity(rest, old)
	}
	was, is := old.TerminationGracePeriodSeconds, s.TerminationGracePeriodSeconds
	if was != nil && *was < 0 && is != nil && *is == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	return rest
}

// validateDeadlineUpdate lets a deadline appear or come nearer.
func validateDeadlineUpdate(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	at := path.Child("activeDeadlineSeconds")
	was, is := old.ActiveDeadlineSeconds, s.ActiveDeadlineSeconds
	switch {
	case is == nil:
		return nil
	case *is < 0 || *is > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, *is, validation.InclusiveRangeError(0, math.MaxInt32))}
	case was != nil && *is > *was:
		return field.ErrorList{field.Invalid(at, *is, "must be less than or equal to previous value")}
	}
	return nil
}

// validateTolerationUpdate lets tolerations be added, and their seconds change.
func validateTolerationUpdate(now, old []corev1.Toleration, at *field.Path) field.ErrorList {
	for i := range old {
		kept := slices.ContainsFunc(now, func(t corev1.Toleration) bool {
			return t.Key == old[i].Key && t.Operator == old[i].Operator &&
				t.Value == old[i].Value && t.Effect == old[i].Effect
		})
		if !kept {
			return field.ErrorList{field.Forbidden(at,
				"existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}
