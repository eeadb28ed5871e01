package namespace

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestConditions(t *testing.T) {
	first, later := metav1.NewTime(time.Unix(100, 0)), metav1.NewTime(time.Unix(200, 0))
	busy := Outcome{
		Discovery: errors.New("no answer"),
		Deletion:  []error{errors.New("a"), errors.New("b")},
		Remaining: []Remaining{
			{Resource: schema.GroupResource{Group: "example.com", Resource: "things"}, Count: 1, Finalizers: map[string]int{"x/y": 1}},
			{Resource: schema.GroupResource{Resource: "pods"}, Count: 2, Finalizers: map[string]int{"x/y": 2, "a/b": 1}},
		},
	}
	conditions, changed := Conditions(nil, busy, first)
	if !changed || len(conditions) != 5 {
		t.Fatalf("changed %v: %+v", changed, conditions)
	}
	want := map[corev1.NamespaceConditionType]string{
		corev1.NamespaceDeletionDiscoveryFailure: "Discovery failed for some groups: no answer",
		corev1.NamespaceDeletionGVParsingFailure: "",
		corev1.NamespaceDeletionContentFailure:   "a, b",
		corev1.NamespaceContentRemaining:         "Some resources are remaining: pods. has 2 resource instances, things.example.com has 1 resource instances",
		corev1.NamespaceFinalizersRemaining:      "Some content in the namespace has finalizers remaining: a/b in 1 resource instances, x/y in 3 resource instances",
	}
	for _, c := range conditions {
		if msg := want[c.Type]; msg != "" && (c.Status != corev1.ConditionTrue || c.Message != msg) || msg == "" && c.Status != corev1.ConditionFalse {
			t.Errorf("%+v, want %q", c, msg)
		}
	}
	if _, changed := Conditions(conditions, busy, later); changed {
		t.Error("the same outcome changes the conditions")
	}
	done, changed := Conditions(conditions, Outcome{}, later)
	if !changed || busy.Empty() || !(Outcome{}).Empty() {
		t.Error("emptiness goes unseen")
	}
	for _, c := range done {
		if c.Status != corev1.ConditionFalse {
			t.Errorf("%+v", c)
		}
		if moved := c.Type != corev1.NamespaceDeletionGVParsingFailure; moved != c.LastTransitionTime.Equal(&later) {
			t.Errorf("%s: transition at %v", c.Type, c.LastTransitionTime)
		}
	}
}
