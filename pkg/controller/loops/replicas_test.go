package loops

import (
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestReplicaSetScales, waits until pods are available, and writes nothing when
// there is nothing to do.
func TestReplicaSetScales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		sets := w.client.AppsV1().ReplicaSets("default")
		rs, err := sets.Create(t.Context(), &appsv1.ReplicaSet{
			ObjectMeta: named("web"),
			Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](3), MinReadySeconds: 20, Selector: selector(), Template: template("one")},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		status := func() appsv1.ReplicaSetStatus {
			t.Helper()
			if rs, err = sets.Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
				t.Fatal(err)
			}
			return rs.Status
		}
		settle(readyAfter + 19*time.Second)
		if s := status(); s.Replicas != 3 || s.ReadyReplicas != 3 || s.FullyLabeledReplicas != 3 || s.AvailableReplicas != 0 {
			t.Errorf("status %+v", s)
		}
		settle(2 * time.Second)
		if s := status(); s.AvailableReplicas != 3 || s.ObservedGeneration != 1 {
			t.Errorf("status %+v", s)
		}
		w.quiet()
		rs.Spec.Replicas = ptr.To[int32](1)
		if _, err := sets.Update(t.Context(), rs, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.count(map[string]int{"one": 1})
		if s := status(); s.Replicas != 1 || s.ObservedGeneration != 2 {
			t.Errorf("status %+v", s)
		}
		w.quiet()
		lost := w.pods()["one"][0]
		if err := w.client.CoreV1().Pods("default").Delete(t.Context(), lost, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		if now := w.pods()["one"]; len(now) != 1 || now[0] == lost {
			t.Errorf("pods %q after %s was lost", now, lost)
		}
		w.quiet()
	})
}

func TestReplicationControllerScales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		tmpl := template("one")
		controllers := w.client.CoreV1().ReplicationControllers("default")
		_, err := controllers.Create(t.Context(), &corev1.ReplicationController{
			ObjectMeta: named("web"),
			Spec:       corev1.ReplicationControllerSpec{Replicas: ptr.To[int32](2), MinReadySeconds: 20, Selector: tmpl.Labels, Template: &tmpl},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		settle(readyAfter + 19*time.Second)
		rc, err := controllers.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || rc.Status.ReadyReplicas != 2 || rc.Status.AvailableReplicas != 0 {
			t.Errorf("%v, status %+v", err, rc.Status)
		}
		settle(2 * time.Second)
		if rc, err = controllers.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || rc.Status.AvailableReplicas != 2 {
			t.Errorf("%v, status %+v", err, rc.Status)
		}
		w.quiet()
		rc.Spec.Replicas = ptr.To[int32](4)
		if _, err := controllers.Update(t.Context(), rc, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.count(map[string]int{"one": 4})
		if rc, err = controllers.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || rc.Status.AvailableReplicas != 4 || rc.Status.ObservedGeneration != 2 {
			t.Errorf("%v, status %+v", err, rc.Status)
		}
		w.quiet()
	})
}
