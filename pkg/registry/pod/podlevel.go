package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podLevelSet says whether the pod sets resources for all its containers
// together.
func podLevelSet(s *corev1.PodSpec) bool {
	return s.Resources != nil && len(s.Resources.Requests)+len(s.Resources.Limits) > 0
}

// defaultPodLevel completes the requests of a pod that has limits of its own:
// with what its containers request together, else with the limits. It comes
// after admission, which may have changed the containers.
func defaultPodLevel(s *corev1.PodSpec) {
	if s.Resources == nil {
		return
	}
	defaultPodHugePages(s)
	if len(s.Resources.Limits) == 0 {
		return
	}
	requests := s.Resources.Requests
	if requests == nil {
		requests = corev1.ResourceList{}
	}
	sum := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, from := range []corev1.ResourceList{sum, s.Resources.Limits} {
		for name, q := range from {
			if _, ok := requests[name]; !ok && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
				requests[name] = q.DeepCopy()
			}
		}
	}
	for name, q := range s.Resources.Limits {
		if _, ok := requests[name]; !ok && strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			requests[name] = q.DeepCopy()
		}
	}
	if len(requests) > 0 {
		s.Resources.Requests = requests
	}
}

// validatePodLevel checks the pod's own resources and that its containers fit
// into them.
func validatePodLevel(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	if s.Resources == nil {
		return nil
	}
	errs := validatePodNames(s.Resources.Limits, path.Child("limits"))
	errs = append(errs, validatePodNames(s.Resources.Requests, path.Child("requests"))...)
	errs = append(errs, validateResources(s.Resources, path)...)
	sum := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		have, ok := s.Resources.Requests[name]
		if need := sum[name]; ok && need.Cmp(have) > 0 {
			errs = append(errs, field.Invalid(path.Child("requests").Key(string(name)), have.String(),
				fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", need.String())))
		}
	}
	errs = append(errs, validatePodHugePages(s, path)...)
	for i := range s.Containers {
		limits := s.Containers[i].Resources.Limits
		for _, name := range slices.Sorted(maps.Keys(limits)) {
			have, ok := s.Resources.Limits[name]
			if limit := limits[name]; ok && limit.Cmp(have) > 0 {
				// The path is Kubernetes', to the letter.
				at := path.Child("containers").Index(i).Key(string(name)).Child("limits")
				errs = append(errs, field.Invalid(at, limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", have.String())))
			}
		}
	}
	return errs
}

// validatePodNames refuses the resources that containers may ask for and a pod
// as a whole may not.
func validatePodNames(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		known := resourcehelper.IsSupportedPodLevelResource(name)
		if !known && knownResource(string(name)) && !strings.Contains(string(name), "/") {
			errs = append(errs, field.NotSupported(path.Key(string(name)), name,
				slices.Sorted(maps.Keys(resourcehelper.SupportedPodLevelResources()))))
		}
	}
	return errs
}
