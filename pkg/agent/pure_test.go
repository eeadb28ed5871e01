package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/pod"
)

func TestFailureOf(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		kind   pod.StepKind
		err    error
		reason string
		final  bool
	}{
		{pod.StepPullImage, errors.New("x"), pod.ReasonErrImagePull, false},
		{pod.StepPullImage, fmt.Errorf("x: %w", pod.ErrImageName), pod.ReasonInvalidImageName, true},
		{pod.StepPullImage, fmt.Errorf("x: %w", pod.ErrImagePlatform), pod.ReasonErrImagePull, false},
		{pod.StepCreateContainer, fmt.Errorf("x: %w", pod.ErrConfig), pod.ReasonCreateContainerConfig, false},
		{pod.StepCreateContainer, errors.New("x"), pod.ReasonCreateContainer, false},
		{pod.StepStartContainer, errors.New("x"), pod.ReasonRunContainer, false},
		{pod.StepPrepareVolumes, errors.New("x"), pod.ReasonFailedMount, false},
		{pod.StepAttachNetwork, errors.New("x"), pod.ReasonCreateSandbox, false},
		{pod.StepRemoveSandbox, errors.New("x"), reasonFailedCleanup, false},
	}
	for _, tt := range tests {
		got := failureOf(tt.kind, tt.err, pod.Failure{Count: 2}, now)
		want := pod.Failure{Count: 3, At: now, Reason: tt.reason, Message: tt.err.Error(), Final: tt.final}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %v: %s", tt.kind, tt.err, diff)
		}
	}
}

// What has ended since the worker last collected is neither begun again nor
// forgotten.
func TestAStepRunsUntilItsEndIsTakenIn(t *testing.T) {
	a := &Agent{clock: time.Now, log: zap.NewNop()}
	w := newWorker(a, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Namespace: "default", Name: "p"}}, nil)
	s := pod.Step{Kind: pod.StepDeletePod}
	f := &flight{step: s, since: time.Now(), cancel: func() {}}
	w.flights[s.ID()] = f
	w.finish(nil, f, pod.Observed{}, nil)
	if _, listed := w.inFlight()[s.ID()]; !w.flying(s) || !listed || w.deleted {
		t.Error("a step whose end is not taken in counts as ended")
	}
	w.collect()
	if _, listed := w.inFlight()[s.ID()]; w.flying(s) || listed || !w.deleted {
		t.Error("a step whose end is taken in counts as under way")
	}
}

func TestMergeStatus(t *testing.T) {
	have := corev1.PodStatus{
		Phase: corev1.PodFailed, Reason: "Evicted",
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		},
	}
	want := corev1.PodStatus{
		Phase:      corev1.PodRunning,
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
	}
	got := mergeStatus(have, want)
	if got.Phase != corev1.PodFailed || got.Reason != "Evicted" {
		t.Errorf("a terminal phase was overwritten: %s %s", got.Phase, got.Reason)
	}
	if len(got.Conditions) != 2 || got.Conditions[0].Type != corev1.PodScheduled || got.Conditions[1].Status != corev1.ConditionFalse {
		t.Errorf("conditions %+v", got.Conditions)
	}
}

func TestStatusPatch(t *testing.T) {
	have := corev1.PodStatus{Phase: corev1.PodPending, PodIP: "10.0.0.1"}
	// Fractions of a second do not survive the API's encoding and are no
	// change.
	at := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 5, time.UTC))
	have.StartTime = &metav1.Time{Time: at.Truncate(time.Second)}
	want := have
	want.StartTime = &at
	if patch, err := statusPatch("u", have, want); err != nil || patch != nil {
		t.Errorf("patch %s, %v; want none", patch, err)
	}
	want.Phase = corev1.PodRunning
	patch, err := statusPatch("u", have, want)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]any
	if err := json.Unmarshal(patch, &got); err != nil {
		t.Fatal(err)
	}
	if got["metadata"]["uid"] != "u" || got["status"]["phase"] != "Running" || len(got["status"]) != 1 {
		t.Errorf("patch %s", patch)
	}
}

func TestUrgent(t *testing.T) {
	ready := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue},
	}}
	running := corev1.PodStatus{Phase: corev1.PodRunning}
	for _, tt := range []struct {
		have, want corev1.PodStatus
		urgent     bool
	}{
		{corev1.PodStatus{}, corev1.PodStatus{Phase: corev1.PodPending}, false},
		{corev1.PodStatus{Phase: corev1.PodPending}, running, true},
		{running, ready, true},
		{ready, running, true},
		{running, corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}, false},
	} {
		if got := urgent(tt.have, tt.want); got != tt.urgent {
			t.Errorf("%+v to %+v: %t", tt.have, tt.want, got)
		}
	}
}

func TestAsDeleted(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	grace := int64(7)
	p := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace}}
	q := asDeleted(p, at)
	if p.DeletionTimestamp != nil {
		t.Error("the original was changed")
	}
	if !q.DeletionTimestamp.Time.Equal(at.Add(7*time.Second)) || *q.DeletionGracePeriodSeconds != 7 {
		t.Errorf("deletion %v, grace %d", q.DeletionTimestamp, *q.DeletionGracePeriodSeconds)
	}
	if again := asDeleted(q, at.Add(time.Hour)); !again.DeletionTimestamp.Equal(q.DeletionTimestamp) {
		t.Error("a deletion's terms were changed")
	}
}

func TestLastBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		n := rapid.IntRange(0, 64).Draw(t, "n")
		got := lastBytes(s, n)
		if !utf8.ValidString(got) || !strings.HasSuffix(s, got) || len(got) > n {
			t.Fatalf("lastBytes(%q, %d) = %q", s, n, got)
		}
	})
}

func TestNodeImages(t *testing.T) {
	got := nodeImages([]pod.Image{
		{Name: "b:1", ID: "sha256:b", Size: 10},
		{Name: "a:2", ID: "sha256:a", Size: 20},
		{Name: "a:1", ID: "sha256:a", Size: 20},
	})
	want := []corev1.ContainerImage{
		{Names: []string{"a:1", "a:2"}, SizeBytes: 20},
		{Names: []string{"b:1"}, SizeBytes: 10},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGuard(t *testing.T) {
	g := guard{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for range guardBurst {
		if d := g.delay("x", now); d != 0 {
			t.Fatalf("held back: %v", d)
		}
	}
	if d := g.delay("x", now); d == 0 {
		t.Error("a step spins")
	}
	if d := g.delay("y", now); d != 0 {
		t.Errorf("another step is held back: %v", d)
	}
	if d := g.delay("x", now.Add(guardEvery)); d != 0 {
		t.Errorf("held back for ever: %v", d)
	}
}

func TestGuardForgets(t *testing.T) {
	g := guard{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 1000 {
		g.delay(pod.StepID(fmt.Sprint("start-container/", i)), now.Add(time.Duration(i)*time.Minute))
	}
	if len(g) > guardKeep {
		t.Errorf("%d steps are remembered", len(g))
	}
}

func TestAttemptOfID(t *testing.T) {
	for _, tt := range []struct {
		step  pod.Step
		want  string
		about bool
	}{
		{pod.Step{Kind: pod.StepStartContainer, Attempt: "u-app-0"}, "u-app-0", true},
		{pod.Step{Kind: pod.StepSignalContainer, Attempt: "u-app-0", Signal: 15}, "u-app-0", true},
		{pod.Step{Kind: pod.StepCreateContainer, Container: "app"}, "", false},
		{pod.Step{Kind: pod.StepPullImage, Image: "a/b"}, "", false},
		{pod.Step{Kind: pod.StepDeletePod}, "", false},
	} {
		if got, about := attemptOfID(tt.step.ID()); got != tt.want || about != tt.about {
			t.Errorf("%s: %q, %t", tt.step.ID(), got, about)
		}
	}
}
