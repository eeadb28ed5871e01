package loop

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

func ranked(p *corev1.Pod, priority int32) *corev1.Pod {
	p.Spec.Priority = &priority
	return p
}

// lingering makes deleted pods stay until they are removed, as those of an
// agent do.
func (c *cluster) lingering() {
	c.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		obj, err := c.Tracker().Get(podsResource, a.GetNamespace(), a.(clienttesting.DeleteAction).GetName())
		if err != nil {
			return true, nil, err
		}
		p := obj.(*corev1.Pod).DeepCopy()
		p.DeletionTimestamp = new(metav1.Now())
		return true, nil, c.Tracker().Update(podsResource, p, p.Namespace)
	})
}

// The lesser pod is told why, and leaves; until it has, its place is kept for
// the greater one, also from pods that would fit.
func TestPreemptsAndKeepsThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		low := ranked(pod("low", "1"), 1)
		low.Spec.NodeName = "a"
		c := newCluster(t, node("a", "1"), low)
		c.lingering()
		c.run()
		c.add(ranked(pod("high", "1"), 10))
		synctest.Wait()
		victim := c.pod("low")
		if victim.DeletionTimestamp == nil || len(victim.Status.Conditions) != 1 {
			t.Fatalf("%+v", victim.Status)
		}
		cond := victim.Status.Conditions[0]
		if cond.Type != corev1.DisruptionTarget || cond.Reason != "PreemptionByScheduler" ||
			cond.Message != "default-scheduler: preempting to accommodate a higher priority pod" {
			t.Errorf("%+v", cond)
		}
		if got := c.told("low"); len(got) != 1 || got[0] != "Preempted: Preempted by pod uid-high on node a" {
			t.Errorf("events %q", got)
		}
		if got := c.pod("high").Status.NominatedNodeName; got != "a" {
			t.Errorf("nominated %q", got)
		}
		want := "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node a, preempting 1 victims"
		if got := c.told("high"); len(got) != 1 || got[0] != want {
			t.Errorf("events %q", got)
		}
		// Another one, that would fit as soon as the victim has gone.
		c.add(ranked(pod("other", "1"), 5))
		synctest.Wait()
		c.remove("low")
		synctest.Wait()
		if got := c.pod("high").Spec.NodeName; got != "a" {
			t.Errorf("high on %q", got)
		}
		if got := c.pod("other").Spec.NodeName; got != "" {
			t.Errorf("other on %q", got)
		}
	})
}

// A scheduler that starts anew goes on where the last one was.
func TestWaitsForVictimsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		low, spared := ranked(pod("low", "1"), 1), ranked(pod("spared", "1"), 1)
		for _, p := range []*corev1.Pod{low, spared} {
			p.Spec.NodeName = "a"
		}
		low.DeletionTimestamp, low.Finalizers = new(metav1.Now()), []string{"example.com/x"}
		low.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler}}
		high := ranked(pod("high", "1"), 10)
		high.Status.NominatedNodeName = "a"
		c := newCluster(t, node("a", "2"), low, spared, high)
		c.run()
		synctest.Wait()
		if c.pod("spared").Name == "" || len(c.told("spared")) > 0 {
			t.Errorf("events %q", c.told("spared"))
		}
		if got := c.told("high"); len(got) != 1 || got[0] != "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node." {
			t.Errorf("events %q", got)
		}
		c.remove("low")
		synctest.Wait()
		if got := c.pod("high").Spec.NodeName; got != "a" {
			t.Errorf("high on %q", got)
		}
	})
}

// Pods that want to be near others wait for them to come, those that want to be
// away from them for them to go, wherever that is.
func TestWakesPodsThatCareAboutOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		about := []corev1.PodAffinityTerm{{
			TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}}
		a, b := node("a", "1"), node("b", "1")
		a.Labels, b.Labels = map[string]string{"zone": "x"}, map[string]string{"zone": "x"}
		c := newCluster(t, a, b)
		c.run()
		near, far := pod("near", "100m"), pod("far", "100m")
		near.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: about}}
		c.add(near)
		synctest.Wait()
		if got := c.pod("near").Spec.NodeName; got != "" {
			t.Fatalf("near on %q", got)
		}
		web := pod("web", "100m")
		web.Labels = map[string]string{"app": "web"}
		began := time.Now()
		c.add(web)
		synctest.Wait()
		if got := c.pod("near").Spec.NodeName; got == "" {
			t.Error("near has no node")
		}
		far.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: about}}
		c.add(far)
		synctest.Wait()
		if got := c.pod("far").Spec.NodeName; got != "" {
			t.Fatalf("far on %q", got)
		}
		c.remove("web")
		synctest.Wait()
		if got := c.pod("far").Spec.NodeName; got == "" {
			t.Error("far has no node")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %v", took)
		}
	})
}
