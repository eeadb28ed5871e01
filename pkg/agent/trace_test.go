package agent

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/tracing"
)

func TestStagesOfAPod(t *testing.T) {
	tracer, err := tracing.New(t.Context(), tracing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u1", Namespace: "default", Name: "web"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	s := newStages(tracer)
	step := func(name string) {
		_, done := s.span(t.Context(), p.UID, name)
		done(nil)
	}
	step("of an unknown pod")
	bound := time.Now()
	tracer.Record(tracing.Pod{UID: p.UID, Namespace: "default", Name: "web"}, tracing.Start, tracing.Over{Name: tracing.NameBind, Begin: bound.Add(-time.Second), End: bound})
	s.saw(p)
	s.saw(p)
	step("first")
	s.written(p.UID, &corev1.PodStatus{Phase: corev1.PodPending})
	s.written(p.UID, &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{running, {}}})
	if !s.starting(p.UID) {
		t.Error("a pod with a container that waits has started")
	}
	s.written(p.UID, &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{running, running}})
	if s.starting(p.UID) {
		t.Error("a pod whose containers run has not started")
	}
	step("restart")
	s.end(p.UID)
	s.end(p.UID)
	step("remove")
	s.forget(p.UID)
	s.forget(p.UID)
	if len(s.pods) != 0 {
		t.Errorf("left: %v", s.pods)
	}

	start, end := tracing.RootID(p.UID, tracing.Start).String(), tracing.RootID(p.UID, tracing.End).String()
	want := map[string]string{
		tracing.NameBind: start, "watch": start, "first": start, "pod start": "", "restart": "", "remove": end, "pod end": "",
	}
	found, _ := tracer.Find("default", "web", "")
	for _, sp := range found.Spans {
		parent, ok := want[sp.Name]
		if !ok || parent != sp.Parent || sp.Error != "" {
			t.Errorf("%+v: want the parent %q", sp, parent)
		}
		if sp.Name == "watch" && !sp.Begin.Equal(bound) {
			t.Errorf("the way to the node begins at %s, want %s", sp.Begin, bound)
		}
		delete(want, sp.Name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// A pod that ran before carob was started has no start; one that goes before it
// has started has a failed one.
func TestStartsThatAreNone(t *testing.T) {
	tracer, err := tracing.New(t.Context(), tracing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := newStages(tracer)
	for name, phase := range map[string]corev1.PodPhase{"old": corev1.PodRunning, "cut": corev1.PodPending} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID("u-" + name), Namespace: "default", Name: name}, Status: corev1.PodStatus{Phase: phase}}
		s.saw(p)
		_, done := s.span(t.Context(), p.UID, "pull image")
		done(errors.New("no such image"))
		s.end(p.UID)
		s.forget(p.UID)
	}
	evicted := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u-evicted", Namespace: "default", Name: "evicted"}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	s.saw(evicted)
	s.written(evicted.UID, &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "no room"})
	for name, want := range map[string]string{"evicted": errNotStarted.Error() + ": OutOfcpu: no room", "old": "", "cut": errNotStarted.Error()} {
		found, _ := tracer.Find("default", name, "")
		starts := ""
		for _, sp := range found.Spans {
			if sp.Name == "pod start" {
				starts += sp.Error
			}
		}
		if starts != want {
			t.Errorf("%s: start %q, want %q", name, starts, want)
		}
	}
}
