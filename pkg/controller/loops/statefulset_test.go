package loops

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	registry "github.com/carob-project/carob/pkg/registry/statefulset"
)

// number creates a StatefulSet of three pods.
func (w *world) number(change func(*appsv1.StatefulSet)) {
	w.t.Helper()
	s := &appsv1.StatefulSet{
		ObjectMeta: named("web"),
		Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To[int32](3), Selector: selector(), Template: template("one")},
	}
	registry.SetDefaults(s)
	if change != nil {
		change(s)
	}
	if _, err := w.client.AppsV1().StatefulSets("default").Create(w.t.Context(), s, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) statefulSet() *appsv1.StatefulSet {
	w.t.Helper()
	s, err := w.client.AppsV1().StatefulSets("default").Get(w.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) renumber(change func(*appsv1.StatefulSetSpec)) {
	w.t.Helper()
	s := w.statefulSet()
	change(&s.Spec)
	if _, err := w.client.AppsV1().StatefulSets("default").Update(w.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) are(want map[string][]string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.pods(); !reflect.DeepEqual(got, want) {
		w.t.Errorf("at %v: pods %q, want %q", time.Now(), got, want)
	}
}

func to(image string) func(*appsv1.StatefulSetSpec) {
	return func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = image }
}

func TestStatefulSetGoesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.number(func(s *appsv1.StatefulSet) { s.Spec.MinReadySeconds = 10 })
		settle(readyAfter + 9*time.Second)
		w.are(map[string][]string{"one": {"web-0"}})
		settle(2 * time.Second)
		w.are(map[string][]string{"one": {"web-0", "web-1"}})
		settle(time.Minute)
		w.are(map[string][]string{"one": {"web-0", "web-1", "web-2"}})
		s := w.statefulSet().Status
		if s.AvailableReplicas != 3 || s.CurrentReplicas != 3 || s.CurrentRevision != s.UpdateRevision {
			t.Errorf("status %+v", s)
		}
		w.quiet()
		w.renumber(to("two"))
		settle(readyAfter + 8*time.Second)
		w.are(map[string][]string{"one": {"web-0", "web-1"}, "two": {"web-2"}})
		settle(2 * time.Minute)
		w.are(map[string][]string{"two": {"web-0", "web-1", "web-2"}})
		w.quiet()
	})
}

func TestStatefulSetKeepsPodsBelowThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.number(func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](2) })
		settle(time.Minute)
		w.renumber(to("two"))
		settle(time.Minute)
		w.are(map[string][]string{"one": {"web-0", "web-1"}, "two": {"web-2"}})
		if s := w.statefulSet().Status; s.UpdatedReplicas != 1 || s.CurrentReplicas != 2 || s.CurrentRevision == s.UpdateRevision {
			t.Errorf("status %+v", s)
		}
		w.quiet()
		// A pod below it comes back as it was.
		if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "web-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.are(map[string][]string{"one": {"web-0", "web-1"}, "two": {"web-2"}})
		w.renumber(func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](0) })
		settle(time.Minute)
		w.are(map[string][]string{"two": {"web-0", "web-1", "web-2"}})
		if s := w.statefulSet().Status; s.CurrentRevision != s.UpdateRevision {
			t.Errorf("status %+v", s)
		}
		w.quiet()
	})
}

func TestStatefulSetUpdatesOnDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.number(func(s *appsv1.StatefulSet) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		})
		settle(time.Minute)
		w.renumber(to("two"))
		settle(time.Hour)
		w.are(map[string][]string{"one": {"web-0", "web-1", "web-2"}})
		w.quiet()
		if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "web-1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		settle(time.Minute)
		w.are(map[string][]string{"one": {"web-0", "web-2"}, "two": {"web-1"}})
		w.quiet()
	})
}

func TestStatefulSetScalesDownFromTheTop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.number(func(s *appsv1.StatefulSet) { s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement })
		w.are(map[string][]string{"one": {"web-0", "web-1", "web-2"}})
		settle(time.Minute)
		w.renumber(func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To[int32](1) })
		settle(time.Minute)
		w.are(map[string][]string{"one": {"web-0"}})
		w.quiet()
	})
}
