package tainteviction

import (
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func ago(s int) metav1.Time { return metav1.NewTime(now.Add(-time.Duration(s) * time.Second)) }

// pod was made 1000 seconds ago, and started 100 seconds ago.
func pod(tolerations ...corev1.Toleration) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Generation: 3, CreationTimestamp: ago(1000)}}
	p.Spec.NodeName, p.Spec.Tolerations = "n", tolerations
	p.Status.Phase, p.Status.StartTime = corev1.PodRunning, ptr.To(ago(100))
	return p
}

func changed(p *corev1.Pod, f func(*corev1.Pod)) *corev1.Pod { f(p); return p }

// tolerates a taint for so many seconds.
func tolerates(key string, seconds int64) corev1.Toleration {
	t := forever(key)
	t.TolerationSeconds = &seconds
	return t
}

func forever(key string) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
}

// taint is one that was first seen 10 seconds ago.
func taint(key string) corev1.Taint {
	return corev1.Taint{Key: key, Value: "1", Effect: corev1.TaintEffectNoExecute}
}

func added(key string, secondsAgo int) corev1.Taint {
	t := taint(key)
	t.TimeAdded = ptr.To(ago(secondsAgo))
	return t
}

func taints(all ...corev1.Taint) []corev1.Taint { return all }

func TestDecide(t *testing.T) {
	const s = time.Second
	never, atOnce := Decision{}, Decision{Evict: true}
	in := func(d time.Duration) Decision { return Decision{Evict: true, In: d} }
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		taints []corev1.Taint
		want   Decision
	}{
		"no taint":                       {pod(), nil, never},
		"taint gone while it waits":      {pod(tolerates("a", 30)), nil, never},
		"not tolerated":                  {pod(), taints(taint("a")), atOnce},
		"another tolerated":              {pod(forever("b")), taints(taint("a")), atOnce},
		"another effect tolerated":       {pod(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), taints(taint("a")), atOnce},
		"one of two not tolerated":       {pod(forever("a")), taints(taint("a"), taint("b")), atOnce},
		"not tolerated among waits":      {pod(tolerates("a", 30), forever("c")), taints(taint("a"), taint("b"), taint("c")), atOnce},
		"tolerated":                      {pod(forever("a")), taints(taint("a")), never},
		"everything tolerated":           {pod(corev1.Toleration{Operator: corev1.TolerationOpExists}), taints(taint("a"), taint("b")), never},
		"for a while":                    {pod(tolerates("a", 30)), taints(taint("a")), in(20 * s)},
		"the while is over":              {pod(tolerates("a", 10)), taints(taint("a")), atOnce},
		"long over":                      {pod(tolerates("a", 3)), taints(taint("a")), atOnce},
		"zero":                           {pod(tolerates("a", 0)), taints(added("a", -60)), atOnce},
		"negative":                       {pod(tolerates("a", -1)), taints(added("a", -60)), atOnce},
		"longer than time":               {pod(tolerates("a", math.MaxInt64)), taints(taint("a")), in(time.Duration(mostSeconds)*s - 10*s)},
		"the shortest of several":        {pod(tolerates("a", 300), tolerates("b", 30), forever("c")), taints(taint("a"), taint("b"), taint("c")), in(20 * s)},
		"the shortest comes first":       {pod(tolerates("b", 300), tolerates("a", 30)), taints(taint("a"), taint("b")), in(20 * s)},
		"a shorter one that came later":  {pod(tolerates("a", 60), tolerates("b", 20)), taints(added("a", 50), added("b", 5)), in(10 * s)},
		"the first that matches counts":  {pod(tolerates("a", 60), tolerates("a", 20)), taints(taint("a")), in(50 * s)},
		"time added":                     {pod(tolerates("a", 60)), taints(added("a", 40)), in(20 * s)},
		"added before the pod's start":   {pod(tolerates("a", 120)), taints(added("a", 5000)), in(20 * s)},
		"added long before, and over":    {pod(tolerates("a", 90)), taints(added("a", 5000)), atOnce},
		"a pod that has ended":           {changed(pod(), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), taints(taint("a")), never},
		"a pod that is being deleted":    {changed(pod(), func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(ago(1)) }), taints(taint("a")), never},
		"a pod without a node":           {changed(pod(), func(p *corev1.Pod) { p.Spec.NodeName = "" }), taints(taint("a")), never},
		"not started, made by its owner": {changed(pod(tolerates("a", 1020)), func(p *corev1.Pod) { p.Status.StartTime = nil }), taints(added("a", 5000)), in(20 * s)},
		"not started, bound lately": {changed(pod(tolerates("a", 60)), func(p *corev1.Pod) {
			p.Status.StartTime = nil
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: ago(40)}}
		}), taints(added("a", 5000)), in(20 * s)},
		"a number that is compared": {pod(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpGt, Value: "0", Effect: corev1.TaintEffectNoExecute}), taints(taint("a")), never},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Decide(tc.pod, tc.taints, func(corev1.Taint) time.Time { return ago(10).Time }, now); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestExpelling(t *testing.T) {
	n := &corev1.Node{}
	n.Spec.Taints = taints(corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule}, taint("a"), corev1.Taint{Key: "y", Effect: corev1.TaintEffectPreferNoSchedule})
	if got := expelling(n); len(got) != 1 || got[0] != taint("a") {
		t.Errorf("%v", got)
	}
}

func TestDisruption(t *testing.T) {
	p := pod()
	c, isNew := disruption(p, now)
	if !isNew || c.Status != corev1.ConditionTrue || c.Reason != "DeletionByTaintManager" || c.ObservedGeneration != 3 || !c.LastTransitionTime.Time.Equal(now) {
		t.Errorf("%+v, %v", c, isNew)
	}
	p.Status.Conditions = []corev1.PodCondition{c}
	if again, isNew := disruption(p, now.Add(time.Minute)); isNew || again != c {
		t.Errorf("said twice: %+v", again)
	}
	p.Status.Conditions[0].Reason = "EvictionByEvictionAPI"
	if c, isNew := disruption(p, now.Add(time.Minute)); !isNew || !c.LastTransitionTime.Time.Equal(now) {
		t.Errorf("%+v, %v", c, isNew)
	}
}

func TestMemory(t *testing.T) {
	var m memory
	later := now.Add(time.Minute)
	s := m.note("k", "u", taints(taint("a")), now)
	if got := m.note("k", "u", taints(added("a", 5), taint("b")), later); got != s || !s.since(taint("a")).Equal(now) || !s.since(taint("b")).Equal(later) {
		t.Errorf("%+v", got)
	}
	m.note("k", "u", taints(taint("b")), later)
	if m.note("k", "u", taints(taint("a")), later); !s.since(taint("a")).Equal(later) {
		t.Errorf("a taint that came back: %+v", s)
	}
	s.planned = true
	if other := m.note("k", "v", taints(taint("a")), later); other == s || other.planned {
		t.Errorf("another pod: %+v", other)
	} else {
		other.planned = true
	}
	if m.forget("k", "u") {
		t.Error("the other pod's plan")
	}
	m.note("k", "u", taints(taint("a")), now).planned = true
	if !m.forget("k", "u") || m.forget("k", "u") || len(m.stays) != 0 {
		t.Errorf("%+v", m.stays)
	}
}
