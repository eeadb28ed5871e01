package disruption

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStale(t *testing.T) {
	threatened := func(change func(*corev1.Pod, *corev1.PodCondition)) *corev1.Pod {
		p := pod("p", "", true)
		c := corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
			LastTransitionTime: metav1.NewTime(now),
		}
		change(p, &c)
		p.Status.Conditions = append(p.Status.Conditions, c)
		return p
	}
	same := func(*corev1.Pod, *corev1.PodCondition) {}
	for name, tt := range map[string]struct {
		pod *corev1.Pod
		at  time.Duration
		in  time.Duration
		ok  bool
	}{
		"nothing is said":      {pod: pod("p", "", true)},
		"just said":            {pod: threatened(same), in: patience, ok: true},
		"said a while ago":     {pod: threatened(same), at: patience - time.Second, in: time.Second, ok: true},
		"said long ago":        {pod: threatened(same), at: time.Hour, ok: true},
		"taken back":           {pod: threatened(func(_ *corev1.Pod, c *corev1.PodCondition) { c.Status = corev1.ConditionFalse }), at: time.Hour},
		"said by the node":     {pod: threatened(func(_ *corev1.Pod, c *corev1.PodCondition) { c.Reason = corev1.PodReasonTerminationByKubelet }), at: time.Hour},
		"ended":                {pod: threatened(func(p *corev1.Pod, _ *corev1.PodCondition) { p.Status.Phase = corev1.PodFailed }), at: time.Hour},
		"is deleted meanwhile": {pod: leaving(threatened(same)), at: time.Hour},
	} {
		if in, ok := stale(tt.pod, now.Add(tt.at)); in != tt.in || ok != tt.ok {
			t.Errorf("%s: %v, %v; want %v, %v", name, in, ok, tt.in, tt.ok)
		}
	}
}
