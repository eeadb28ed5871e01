package replicaset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func pod(name string, ready bool, since time.Time) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(since)},
		}},
	}
}

func set(n, minReady int32) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To(n), MinReadySeconds: minReady}}
	rs.Spec.Template.Labels = map[string]string{"a": "b"}
	return rs
}

func TestDiff(t *testing.T) {
	now := time.Unix(1e6, 0)
	waiting, cheap, dear := pod("waiting", false, now), pod("cheap", true, now.Add(-time.Hour)), pod("dear", true, now.Add(-time.Minute))
	cheap.Annotations = map[string]string{corev1.PodDeletionCost: "-5"}
	nodeless := pod("nodeless", true, now)
	nodeless.Spec.NodeName = ""
	all := []*corev1.Pod{dear, cheap, waiting, nodeless}
	for n, want := range []string{"[nodeless waiting cheap dear]", "[nodeless waiting cheap]", "[nodeless waiting]", "[nodeless]", "[]"} {
		create, remove := Diff(set(int32(n), 0), all, all, now)
		got := []string{}
		for _, p := range remove {
			got = append(got, p.Name)
		}
		if n > 0 && fmt.Sprint(got) != want || n == 0 && len(got) != 4 || create != 0 {
			t.Errorf("%d replicas: create %d, remove %v, want %s", n, create, got, want)
		}
	}
	if create, _ := Diff(set(6, 0), all, all, now); create != 2 {
		t.Errorf("create %d", create)
	}
	gone := set(9, 0)
	gone.DeletionTimestamp = &metav1.Time{Time: now}
	if create, remove := Diff(gone, all, all, now); create != 0 || remove != nil {
		t.Errorf("a deleted set makes %d and deletes %v", create, remove)
	}
}

func TestStatus(t *testing.T) {
	now := time.Unix(1e6, 0)
	rs := set(3, 10)
	pods := []*corev1.Pod{pod("old", true, now.Add(-time.Minute)), pod("new", true, now.Add(-4*time.Second)), pod("not", false, now)}
	pods[2].Labels = nil
	s, again := Status(rs, pods, 2, errors.New("no room"), now)
	if s.Replicas != 3 || s.ReadyReplicas != 2 || s.AvailableReplicas != 1 || s.FullyLabeledReplicas != 2 ||
		*s.TerminatingReplicas != 2 || s.ObservedGeneration != 3 || again != 6*time.Second {
		t.Errorf("%+v, again in %v", s, again)
	}
	if len(s.Conditions) != 1 || s.Conditions[0].Reason != reasonFailedCreate || s.Conditions[0].Message != "no room" {
		t.Errorf("conditions %+v", s.Conditions)
	}
	rs.Status = s
	if s, again = Status(rs, pods, 0, nil, now.Add(6*time.Second)); s.AvailableReplicas != 2 || again != 0 || s.Conditions != nil {
		t.Errorf("%+v, again in %v", s, again)
	}
}
