package loops

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	registry "github.com/carob-project/carob/pkg/registry/deployment"
)

// deploy creates a deployment of three pods.
func (w *world) deploy(change func(*appsv1.Deployment)) {
	w.t.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: named("web"),
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](3), Selector: selector(), Template: template("one")},
	}
	registry.SetDefaults(d)
	if change != nil {
		change(d)
	}
	if _, err := w.client.AppsV1().Deployments("default").Create(w.t.Context(), d, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	d, err := w.client.AppsV1().Deployments("default").Get(w.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) edit(change func(*appsv1.Deployment)) {
	w.t.Helper()
	d := w.deployment()
	change(d)
	if _, err := w.client.AppsV1().Deployments("default").Update(w.t.Context(), d, metav1.UpdateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) sets() []appsv1.ReplicaSet {
	w.t.Helper()
	l, err := w.client.AppsV1().ReplicaSets("default").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return l.Items
}

func (w *world) condition(kind appsv1.DeploymentConditionType) string {
	for _, c := range w.deployment().Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func image(name string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = name }
}

func TestDeploymentRollsOutAndSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(nil)
		settle(readyAfter + time.Second)
		w.count(map[string]int{"one": 3})
		if s := w.deployment().Status; s.AvailableReplicas != 3 || s.ReadyReplicas != 3 || s.ObservedGeneration != 1 {
			t.Errorf("status %+v", s)
		}
		w.quiet()
		w.edit(image("two"))
		settle(time.Minute)
		w.count(map[string]int{"two": 3})
		if got := w.condition(appsv1.DeploymentProgressing); got != "True NewReplicaSetAvailable" {
			t.Errorf("Progressing is %q", got)
		}
		if s := w.deployment().Status; s.UpdatedReplicas != 3 || s.Replicas != 3 {
			t.Errorf("status %+v", s)
		}
		w.quiet()
	})
}

func TestDeploymentWaitsForMinReadySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 30 })
		settle(readyAfter + 29*time.Second)
		if s := w.deployment().Status; s.ReadyReplicas != 3 || s.AvailableReplicas != 0 {
			t.Errorf("before the time: %+v", s)
		}
		settle(2 * time.Second)
		if s := w.deployment().Status; s.AvailableReplicas != 3 {
			t.Errorf("after the time: %+v", s)
		}
		w.edit(image("two"))
		// One more pod than wanted, and until it is available no old one goes.
		settle(readyAfter + 20*time.Second)
		w.count(map[string]int{"one": 3, "two": 1})
		settle(15 * time.Second)
		w.count(map[string]int{"one": 2, "two": 2})
		settle(5 * time.Minute)
		w.count(map[string]int{"two": 3})
		w.quiet()
	})
}

func TestDeploymentMissesItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](100) })
		settle(10 * time.Second)
		w.edit(image(never))
		settle(99 * time.Second)
		if got := w.condition(appsv1.DeploymentProgressing); !strings.HasPrefix(got, "True") {
			t.Errorf("before the deadline Progressing is %q", got)
		}
		settle(3 * time.Second)
		if got := w.condition(appsv1.DeploymentProgressing); got != "False ProgressDeadlineExceeded" {
			t.Errorf("after the deadline Progressing is %q", got)
		}
		w.count(map[string]int{"one": 3, never: 1})
		w.quiet()
		// What comes next is given its own time.
		w.edit(image("two"))
		settle(time.Minute)
		if got := w.condition(appsv1.DeploymentProgressing); got != "True NewReplicaSetAvailable" {
			t.Errorf("in the end Progressing is %q", got)
		}
		w.count(map[string]int{"two": 3})
	})
}

func TestDeploymentPausesAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(nil)
		settle(10 * time.Second)
		w.edit(func(d *appsv1.Deployment) { d.Spec.Paused = true })
		w.edit(image("two"))
		settle(time.Minute)
		w.count(map[string]int{"one": 3})
		if n := len(w.sets()); n != 1 {
			t.Errorf("a paused deployment has %d sets", n)
		}
		if got := w.condition(appsv1.DeploymentProgressing); got != "Unknown DeploymentPaused" {
			t.Errorf("Progressing is %q", got)
		}
		// It is still scaled.
		w.edit(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](5) })
		settle(time.Minute)
		w.count(map[string]int{"one": 5})
		w.quiet()
		w.edit(func(d *appsv1.Deployment) { d.Spec.Paused = false })
		settle(time.Minute)
		w.count(map[string]int{"two": 5})
		w.quiet()
	})
}

func TestDeploymentRecreates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(func(d *appsv1.Deployment) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		})
		settle(10 * time.Second)
		w.edit(image("two"))
		settle(10 * time.Second)
		w.count(map[string]int{"two": 3})
		w.quiet()
	})
}

// TestDeploymentAvoidsATakenName: the name of a new set follows from its
// template, and may be another's by chance.
func TestDeploymentAvoidsATakenName(t *testing.T) {
	var name string
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(nil)
		settle(time.Minute)
		name = w.sets()[0].Name
	})
	synctest.Test(t, func(t *testing.T) {
		taken := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "taken", ResourceVersion: "1", Generation: 1, Labels: map[string]string{"app": "other"}},
			Spec: appsv1.ReplicaSetSpec{
				Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "other"}}, Spec: template("other").Spec},
			},
		}
		w := run(t, taken)
		w.deploy(nil)
		settle(time.Minute)
		w.count(map[string]int{"one": 3})
		if n := ptr.Deref(w.deployment().Status.CollisionCount, 0); n != 1 {
			t.Errorf("collisionCount %d", n)
		}
		if n := len(w.sets()); n != 2 {
			t.Errorf("%d sets", n)
		}
		w.quiet()
	})
}

func TestDeploymentKeepsALimitedHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.deploy(func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = ptr.To[int32](1) })
		for _, name := range []string{"two", "three", "four"} {
			settle(time.Minute)
			w.edit(image(name))
		}
		settle(time.Minute)
		var images []string
		for _, rs := range w.sets() {
			images = append(images, rs.Spec.Template.Spec.Containers[0].Image)
		}
		if len(images) != 2 {
			t.Errorf("sets of %q, want the current one and one before it", images)
		}
		w.quiet()
	})
}
