package rollout

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestPair(t *testing.T) {
	all := map[int64]string{2: "", 5: "", 7: ""}
	for _, c := range []struct {
		have           map[int64]string
		from, to       int64
		wantFrom, want int64
		err            error
	}{
		{all, 0, 0, 5, 7, nil},
		{all, 2, 0, 2, 7, nil},
		{all, 0, 5, 2, 5, nil},
		{all, 7, 2, 7, 2, nil},
		{all, 0, 2, 0, 0, ErrOnlyOne},
		{all, 3, 0, 0, 0, ErrNoRevision},
		{all, 0, 6, 0, 0, ErrNoRevision},
		{nil, 0, 0, 0, 0, ErrNoRevision},
	} {
		from, to, err := Pair(c.have, c.from, c.to)
		if from != c.wantFrom || to != c.want || !errors.Is(err, c.err) {
			t.Errorf("%d to %d: %d, %d, %v", c.from, c.to, from, to, err)
		}
	}
}

func TestTemplates(t *testing.T) {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x", "pod-template-hash": "abc"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	rs := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Template: template}}
	got, err := Templates(map[int64]runtime.Object{
		1: rs, 2: &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: template}}, 3: &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Template: template}},
	})
	if err != nil || len(got) != 3 {
		t.Fatal(got, err)
	}
	text, err := YAML(got[1])
	if err != nil || !strings.Contains(string(text), "image: i") || strings.Contains(string(text), "abc") {
		t.Errorf("%s %v", text, err)
	}
	if rs.Spec.Template.Labels["pod-template-hash"] == "" {
		t.Error("the object was written to")
	}
	if _, err := Templates(map[int64]runtime.Object{1: &corev1.Pod{}}); !errors.Is(err, ErrKind) {
		t.Error(err)
	}
}
