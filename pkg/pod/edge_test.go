package pod_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestPhaseThatOthersEndedStopsTheContainers(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Pod.Status.Phase, s.Pod.Status.Reason, s.Pod.Status.Message = corev1.PodFailed, "NodeLost", "the node was away"
	wantSteps(t, s, "signal-container/a-0/15")
	settle(t, s, time.Minute)
	st := s.Pod.Status
	if st.Phase != corev1.PodFailed || st.Reason != "NodeLost" || st.Message != "the node was away" || s.Obs.Sandbox != nil {
		t.Errorf("phase %s (%s: %s), sandbox %v", st.Phase, st.Reason, st.Message, s.Obs.Sandbox)
	}
	if st.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("state %+v", st.ContainerStatuses[0].State)
	}
}

func TestSpecChangeDoesNotReviveWhatHasFinished(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyOnFailure, "a", "b"))
	s.Exit("0000-1111-a-0", pod.Exit{})
	s.Plan()
	s.Pod.Spec.Containers[0].Image = "example.test/a:2"
	wantSteps(t, s, "")
}

func TestSpecChangeEndsTheBackOff(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Attempts[0].Streak = 7
	s.Exit("0000-1111-a-0", pod.Exit{Code: 1})
	wantSteps(t, s, "")
	s.Pod.Spec.Containers[0].Args = []string{"better"}
	wantSteps(t, s, "create-container/a#1")
	if s.Last.Steps[0].Streak != 0 {
		t.Errorf("streak %d", s.Last.Steps[0].Streak)
	}
}

func TestInitContainersWhoseAttemptsHaveGone(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	s := podtest.NewSim(p, epoch)
	s.Program = func(c string, _ int) podtest.Program {
		if c == "i" {
			return podtest.Program{}
		}
		return podtest.Program{Lasts: podtest.Forever}
	}
	settle(t, s, 0)
	s.Vanish("0000-1111-i-0")
	wantSteps(t, s, "")
	// Not even the API remembers it.
	s.Pod.Status.InitContainerStatuses = nil
	wantSteps(t, s, "")
	cs := s.Pod.Status.InitContainerStatuses[0]
	if cs.State.Terminated == nil || cs.State.Terminated.Reason != "Completed" || !cs.Ready {
		t.Errorf("status %+v", cs)
	}
}

func TestAgentThatForgotEverythingAdoptsWhatRuns(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	before := s.Pod.Status
	s.RestartAgent(func(pod.Step) bool { return true })
	s.Pod.Status = corev1.PodStatus{}
	wantSteps(t, s, "prepare-volumes")
	s.FinishAll()
	wantSteps(t, s, "")
	if got, want := s.Pod.Status.ContainerStatuses[0].State, before.ContainerStatuses[0].State; !got.Running.StartedAt.Equal(&want.Running.StartedAt) {
		t.Errorf("state %+v, before %+v", got, want)
	}
}

func TestImageNamesInStatus(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":                     "docker.io/library/busybox:latest",
		"busybox:1.35":                "docker.io/library/busybox:1.35",
		"team/app":                    "docker.io/team/app:latest",
		"docker.io/busybox:1":         "docker.io/library/busybox:1",
		"docker.io/library/busybox:1": "docker.io/library/busybox:1",
		"localhost/app:1":             "localhost/app:1",
		"localhost:5000/app":          "localhost:5000/app:latest",
		"example.test/a/b@sha256:12":  "example.test/a/b@sha256:12",
	} {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
		p.Spec.Containers[0].Image = in
		if got := running(t, p).Pod.Status.ContainerStatuses[0].Image; got != want {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
	}
}

func TestOddPodsDoNotPanic(t *testing.T) {
	for _, p := range []*corev1.Pod{{}, podtest.NewPod(corev1.RestartPolicyNever), podtest.NewPod("bogus", "a", "a")} {
		for _, o := range []pod.Observed{
			{},
			{Sandbox: &pod.Sandbox{Attached: true}, VolumesReady: true},
			{Attempts: []pod.Attempt{{Container: "a", ID: "x", State: pod.AttemptExited}, {ID: "y"}}},
		} {
			pod.Plan(p, o, epoch)
			if st := pod.Status(p, o, epoch); st.Phase == "" {
				t.Errorf("no phase for %+v, %+v", p, o)
			}
		}
	}
}

// The fakes keep virtual time, so that loops with them can be tested so.
func TestFakesInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := podtest.NewWorld(nil, "example.test/a:1")
		w.Faults.Delay("Images.Pull", time.Hour)
		begin := time.Now()
		if _, err := w.Images.Pull(t.Context(), "example.test/a:1", pod.PullOptions{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != time.Hour {
			t.Errorf("took %v", took)
		}
		changes, err := w.Runtime.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		id, err := w.Runtime.Create(t.Context(), pod.CreateRequest{
			Pod: pod.Ref{UID: "u"}, Container: "a", ImageName: "example.test/a:1", Command: []string{"sleep", "100"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Runtime.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			<-changes
		}
		l, err := w.Runtime.List(t.Context())
		if err != nil || len(l) != 1 || l[0].Exit == nil || l[0].Exit.FinishedAt.Sub(l[0].StartedAt) != 100*time.Second {
			t.Errorf("list %+v, %v", l, err)
		}
	})
}
