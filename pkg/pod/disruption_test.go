package pod

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A pod that its node ends after it was admitted tells who did it, once; one
// that was rejected was never a target.
func TestDisruptionTarget(t *testing.T) {
	for _, disrupts := range []bool{true, false} {
		p := &corev1.Pod{}
		if disrupts {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse}}
		}
		v := &view{pod: p, o: Observed{Evicted: &Eviction{Reason: ReasonEvicted, Message: "too much", Disrupts: disrupts}}}
		var st corev1.PodStatus
		v.conditions(&st)
		v.pod.Status.Conditions = st.Conditions
		v.conditions(&st)
		l := slices.DeleteFunc(st.Conditions, func(c corev1.PodCondition) bool { return !isDisruption(c) })
		if !disrupts {
			if len(l) != 0 {
				t.Errorf("a rejected pod has %+v", l)
			}
			continue
		}
		if len(l) != 1 || l[0].Status != corev1.ConditionTrue || l[0].Reason != "TerminationByKubelet" || l[0].Message != "too much" {
			t.Errorf("conditions %+v", l)
		}
	}
}
