package statefulset

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestOrdinal(t *testing.T) {
	for name, want := range map[string]int{"a-0": 0, "a-12": 12, "a-b-1": -1, "a-01": -1, "a-": -1, "b-1": -1, "a--1": -1} {
		if got := Ordinal("a", name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// TestInvariants plays pods by chance, for sets of every kind.
func TestInvariants(t *testing.T) {
	now := time.Unix(1e9, 0)
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", UID: "u", Generation: 1}}
		set.Spec = appsv1.StatefulSetSpec{
			Replicas: ptr.To(r.Int32N(6)), PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			UpdateStrategy: appsv1.StatefulSetUpdateStrategy{
				Type: appsv1.RollingUpdateStatefulSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{
					Partition: ptr.To[int32](0), MaxUnavailable: ptr.To(intstr.FromInt32(1 + r.Int32N(3))),
				},
			},
		}
		if r.IntN(2) == 0 {
			set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		}
		if r.IntN(3) == 0 {
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
		}
		pods := map[string]*corev1.Pod{}
		revision := Revision{Name: "r0"}
		step := func(current, update Revision) bool {
			p := Decide(set, slices.Collect(values(pods)), current, update, nil, now)
			ordered := set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
			if ordered && len(p.Create) > 1 {
				t.Fatalf("%d pods at once, in order", len(p.Create))
			}
			for _, pod := range p.Create {
				if pods[pod.Name] != nil {
					t.Fatalf("pod %s is made twice", pod.Name)
				}
				pod.Status.Phase = corev1.PodPending
				pods[pod.Name] = pod
			}
			down := 0
			for _, pod := range p.Delete {
				pod = pods[pod.Name].DeepCopy()
				pod.DeletionTimestamp = &metav1.Time{Time: now}
				pods[pod.Name] = pod
			}
			for _, pod := range pods {
				if n := Ordinal("s", pod.Name); pod.DeletionTimestamp != nil && n >= start(set) && n < start(set)+int(*set.Spec.Replicas) {
					down++
				}
			}
			if most := set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.IntValue(); ordered && down > most {
				t.Fatalf("%d pods down, at most %d allowed", down, most)
			}
			wrote := len(p.Create)+len(p.Delete)+len(p.Relabel) > 0 || p.Status.CurrentRevision != set.Status.CurrentRevision
			set.Status = p.Status
			return wrote
		}
		settle := func(current, update Revision) {
			for range 200 {
				step(current, update)
				for name, pod := range pods {
					switch {
					case r.IntN(2) == 0:
					case pod.DeletionTimestamp != nil:
						delete(pods, name)
					default:
						pod = pod.DeepCopy()
						pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
							{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)},
						}}
						pods[name] = pod
					}
				}
				if set.Status.CurrentRevision == update.Name {
					current = update
				}
			}
			if step(current, update) || set.Status.CurrentRevision != update.Name || set.Status.AvailableReplicas != *set.Spec.Replicas ||
				set.Status.Replicas != *set.Spec.Replicas || len(pods) != int(*set.Spec.Replicas) {
				t.Fatalf("not settled: %+v, %d pods", set.Status, len(pods))
			}
		}
		settle(revision, revision)
		settle(revision, Revision{Name: "r1"})
		set.Spec.Replicas = ptr.To(r.Int32N(6))
		settle(Revision{Name: "r1"}, Revision{Name: "r2"})
		for name := range pods {
			if n := Ordinal("s", name); n < start(set) || n >= start(set)+int(*set.Spec.Replicas) {
				t.Fatalf("pod %s has no place", name)
			}
		}
	}
}

func start(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

func values(m map[string]*corev1.Pod) func(func(*corev1.Pod) bool) {
	return func(yield func(*corev1.Pod) bool) {
		for _, p := range m {
			if !yield(p) {
				return
			}
		}
	}
}
