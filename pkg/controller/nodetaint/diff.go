package nodetaint

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// meanings are the taints that follow from a condition's status.
func meanings() []meaning {
	return []meaning{
		{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
		{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
		{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
		{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
		{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
		{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
	}
}

type meaning struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	taint     string
}

// Taints returns the taints that the node should have: those that follow from
// its conditions and from spec.unschedulable, and what others have put there.
// changed says that it has others now.
func Taints(n *corev1.Node) (taints []corev1.Taint, changed bool) {
	var want []string
	own := map[string]bool{corev1.TaintNodeUnschedulable: true}
	for _, m := range meanings() {
		own[m.taint] = true
		if slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == m.condition && c.Status == m.status
		}) {
			want = append(want, m.taint)
		}
	}
	if n.Spec.Unschedulable {
		want = append(want, corev1.TaintNodeUnschedulable)
	}
	for _, t := range n.Spec.Taints {
		if !own[t.Key] || t.Effect != corev1.TaintEffectNoSchedule {
			taints = append(taints, t)
			continue
		}
		i := slices.Index(want, t.Key)
		if i < 0 {
			changed = true
			continue
		}
		taints, want = append(taints, t), slices.Delete(want, i, i+1)
	}
	for _, key := range want {
		taints, changed = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}), true
	}
	return taints, changed
}
