package eviction

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// Refusal says why a node in these conditions does not take the pod; empty: it
// does. Under memory pressure alone only pods that request nothing are turned
// away.
func Refusal(p *corev1.Pod, class corev1.PodQOSClass, conditions []corev1.NodeConditionType) string {
	if len(conditions) == 0 || Critical(p) {
		return ""
	}
	if slices.Equal(conditions, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
		taint := corev1.Taint{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule}
		if class != corev1.PodQOSBestEffort ||
			schedulinghelper.TolerationsTolerateTaint(klog.Logger{}, p.Spec.Tolerations, &taint, true) {
			return ""
		}
	}
	return fmt.Sprintf("The node had condition: %v. ", conditions)
}
