package pod_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

var epoch = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// names renders steps for comparison: kind and what it is about.
func names(d pod.Decision) string {
	var l []string
	for _, s := range d.Steps {
		n := string(s.ID())
		if s.Kind == pod.StepCreateContainer {
			n += "#" + string(rune('0'+s.Number))
		}
		l = append(l, strings.ReplaceAll(n, "0000-1111-", ""))
	}
	return strings.Join(l, " ")
}

// wantSteps plans and compares the steps.
func wantSteps(t *testing.T, s *podtest.Sim, want string) {
	t.Helper()
	if got := names(s.Plan()); got != want {
		t.Fatalf("steps\n  %q, want\n  %q", got, want)
	}
	wantSound(t, s)
}

func wantSound(t *testing.T, s *podtest.Sim) {
	t.Helper()
	for _, b := range s.Broken {
		t.Error(b)
	}
}

func settle(t *testing.T, s *podtest.Sim, limit time.Duration) {
	t.Helper()
	if !s.Settle(limit) {
		t.Fatalf("no rest: %+v", s.Last)
	}
	wantSound(t, s)
}

// running returns a pod that has come up.
func running(t *testing.T, p *corev1.Pod) *podtest.Sim {
	t.Helper()
	s := podtest.NewSim(p, epoch)
	settle(t, s, 0)
	if s.Pod.Status.Phase != corev1.PodRunning {
		t.Fatalf("phase %s", s.Pod.Status.Phase)
	}
	return s
}

func condition(t *testing.T, st corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
	t.Helper()
	for _, c := range st.Conditions {
		if c.Type == kind {
			return c
		}
	}
	t.Fatalf("no condition %s", kind)
	return corev1.PodCondition{}
}

func quantities(kv ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i+1 < len(kv); i += 2 {
		l[corev1.ResourceName(kv[i])] = resource.MustParse(kv[i+1])
	}
	return l
}

func hasNotice(d pod.Decision, reason, message string) bool {
	for _, n := range d.Notices {
		if n.Reason == reason && n.Message == message {
			return true
		}
	}
	return false
}
