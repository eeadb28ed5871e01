package namespace

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPrepare(t *testing.T) {
	r := mainRules()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"example.com/x"}}}
	for range 2 {
		r.Prepare(n)
	}
	want := []corev1.FinalizerName{"example.com/x", corev1.FinalizerKubernetes}
	if d := cmp.Diff(want, n.Spec.Finalizers); d != "" || n.Status.Phase != corev1.NamespaceActive || n.Labels[corev1.LabelMetadataName] != "n" {
		t.Errorf("%+v\n%s", n, d)
	}
}

func TestPhaseFollowsTheDeletionTimestamp(t *testing.T) {
	now := metav1.Now()
	for _, c := range []struct {
		deleted *metav1.Time
		phase   corev1.NamespacePhase
		want    int
	}{
		{nil, corev1.NamespaceActive, 0}, {nil, corev1.NamespaceTerminating, 1},
		{&now, corev1.NamespaceTerminating, 0}, {&now, corev1.NamespaceActive, 1},
	} {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: c.deleted}, Status: corev1.NamespaceStatus{Phase: c.phase}}
		if got := statusRules().ValidateUpdate(t.Context(), n, n); len(got) != c.want {
			t.Errorf("%v %s: %v", c.deleted, c.phase, got)
		}
	}
}

func TestDependentFinalizers(t *testing.T) {
	policy := func(p metav1.DeletionPropagation) *metav1.DeleteOptions {
		return &metav1.DeleteOptions{PropagationPolicy: &p}
	}
	for name, c := range map[string]struct {
		have []string
		o    *metav1.DeleteOptions
		want []string
	}{
		"none asked": {[]string{"a", metav1.FinalizerOrphanDependents}, &metav1.DeleteOptions{}, []string{"a", metav1.FinalizerOrphanDependents}},
		"orphan":     {[]string{"a"}, policy(metav1.DeletePropagationOrphan), []string{"a", metav1.FinalizerOrphanDependents}},
		"foreground": {[]string{metav1.FinalizerOrphanDependents}, policy(metav1.DeletePropagationForeground), []string{metav1.FinalizerDeleteDependents}},
		"background": {[]string{metav1.FinalizerDeleteDependents, "a"}, policy(metav1.DeletePropagationBackground), []string{"a"}},
	} {
		if d := cmp.Diff(c.want, dependentFinalizers(c.have, c.o)); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}
