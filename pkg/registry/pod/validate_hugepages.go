package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// validateHugePages wants whole pages, and something else beside them.
func validateHugePages(r *corev1.ResourceRequirements, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	huge, other := false, false
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"limits", r.Limits}, {"requests", r.Requests}} {
		for _, name := range slices.Sorted(maps.Keys(l.list)) {
			other = other || name == corev1.ResourceCPU || name == corev1.ResourceMemory
			if !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				continue
			}
			huge = true
			if amount := l.list[name]; !wholePages(name, amount) {
				errs = append(errs, field.Invalid(path.Child(l.name).Key(string(name)), amount.String(),
					fmt.Sprintf("%s is not positive integer multiple of %s", amount.String(), name)))
			}
		}
	}
	if huge && !other {
		errs = append(errs, field.Forbidden(path, "HugePages require cpu or memory"))
	}
	return errs
}

func wholePages(name corev1.ResourceName, amount resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 {
		return false
	}
	return amount.Value()%size.Value() == 0
}

// validatePodHugePages: containers cannot have more of them together than their
// pod.
func validatePodHugePages(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	sum := resourcehelper.AggregateContainerLimits(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		have, ok := s.Resources.Limits[name]
		if need := sum[name]; ok && strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && need.Cmp(have) > 0 {
			errs = append(errs, field.Invalid(path.Child("limits").Key(string(name)), have.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", need.String())))
		}
	}
	return errs
}

// defaultPodHugePages gives a pod that has resources of its own the huge pages
// that its containers may have together, unless it asks for some itself.
func defaultPodHugePages(s *corev1.PodSpec) {
	if len(s.Resources.Limits)+len(s.Resources.Requests) == 0 {
		return
	}
	for name, sum := range resourcehelper.AggregateContainerLimits(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{}) {
		_, asked := s.Resources.Requests[name]
		_, bounded := s.Resources.Limits[name]
		if asked || bounded || !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			continue
		}
		if s.Resources.Limits == nil {
			s.Resources.Limits = corev1.ResourceList{}
		}
		s.Resources.Limits[name] = sum.DeepCopy()
	}
}
