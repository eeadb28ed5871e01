package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QOSClass returns the quality of service class that follows from the
// resources of the pod where it sets any, else of all containers: Guaranteed
// where each has limits of cpu and memory and requests equal to them,
// BestEffort where none has any.
func QOSClass(s *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, bestEffort := true, true
	var all []*corev1.ResourceRequirements
	if podLevelSet(s) {
		all = append(all, s.Resources)
	} else {
		for _, c := range slices.Concat(s.InitContainers, s.Containers) {
			all = append(all, &c.Resources)
		}
	}
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := r.Limits[name], r.Requests[name]
			if positive(limit) || positive(request) {
				bestEffort = false
			}
			if !positive(limit) || limit.Cmp(request) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case bestEffort:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

func positive(q resource.Quantity) bool { return q.Sign() > 0 }
