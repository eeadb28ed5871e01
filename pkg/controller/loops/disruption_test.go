package loops

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestDisruptionThatDoesNotCome is taken back two minutes after it was
// announced, once, and the rest of the status is left as it is.
func TestDisruptionThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		pods := w.client.CoreV1().Pods("default")
		p, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: named("p"), Spec: template(never).Spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
		p.Status.Conditions = []corev1.PodCondition{ready, {
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		}}
		if _, err := pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		said := func() corev1.PodCondition {
			t.Helper()
			p, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
			if err != nil || len(p.Status.Conditions) != 2 || p.Status.Conditions[0] != ready {
				t.Fatalf("%+v, %v", p, err)
			}
			return p.Status.Conditions[1]
		}
		settle(2*time.Minute - time.Second)
		if c := said(); c.Status != corev1.ConditionTrue {
			t.Errorf("too early: %+v", c)
		}
		settle(2 * time.Second)
		if c := said(); c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionFalse || c.Reason != "" {
			t.Errorf("not taken back: %+v", c)
		}
		w.quiet()
	})
}
