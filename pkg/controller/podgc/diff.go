package podgc

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reasonEvicted marks pods that a node has thrown out; they say the least.
const reasonEvicted = "Evicted"

// Terminated reports whether the pod has ended for good.
func Terminated(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Abandoned reports whether the pod is being deleted and has no node, so that
// nobody else would ever finish its deletion.
func Abandoned(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && p.Spec.NodeName == ""
}

// Excess returns those of the terminated pods that are too many: evicted ones
// first, then the oldest. A threshold of 0 or less means: none ever.
func Excess(terminated []*corev1.Pod, threshold int) []*corev1.Pod {
	surplus := len(terminated) - threshold
	if threshold <= 0 || surplus <= 0 {
		return nil
	}
	sorted := slices.SortedFunc(slices.Values(terminated), func(a, b *corev1.Pod) int {
		if ea, eb := evicted(a), evicted(b); ea != eb {
			if ea {
				return -1
			}
			return 1
		}
		return cmp.Or(
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			strings.Compare(a.Namespace, b.Namespace),
			strings.Compare(a.Name, b.Name),
		)
	})
	return sorted[:surplus]
}

func evicted(p *corev1.Pod) bool { return p.Status.Reason == reasonEvicted }

// disrupted returns the status of a pod whose node is gone, and false where
// the pod's own status needs no change.
func disrupted(p *corev1.Pod, now metav1.Time) (corev1.PodStatus, bool) {
	if Terminated(p) {
		return p.Status, false
	}
	s := *p.Status.DeepCopy()
	s.Phase = corev1.PodFailed
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type:               corev1.DisruptionTarget,
		Status:             corev1.ConditionTrue,
		Reason:             "DeletionByPodGC",
		Message:            "PodGC: node no longer exists",
		LastTransitionTime: now,
	})
	return s, true
}
