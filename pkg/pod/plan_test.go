package pod_test

import (
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestBringUp(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a", "b"), epoch)
	wantSteps(t, s, "prepare-volumes create-sandbox pull-image/example.test/a:1 pull-image/example.test/b:1")
	s.FinishAll()
	wantSteps(t, s, "attach-network create-container/a#0 create-container/b#0")
	// Nothing is asked for twice, and a start waits for the network.
	for _, st := range s.Flights() {
		if st.Kind == pod.StepCreateContainer {
			s.Finish(st)
		}
	}
	wantSteps(t, s, "")
	s.FinishAll()
	wantSteps(t, s, "start-container/a-0 start-container/b-0")
	s.FinishAll()
	wantSteps(t, s, "")
	if !s.Last.Wake.IsZero() {
		t.Errorf("wakes at %v", s.Last.Wake)
	}
}

func TestImageSharedByContainersIsPulledOnce(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Spec.Containers[1].Image = p.Spec.Containers[0].Image
	s := podtest.NewSim(p, epoch)
	wantSteps(t, s, "prepare-volumes create-sandbox pull-image/example.test/a:1")
}

func TestInitContainersRunInOrder(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i", "j").Spec.Containers
	s := podtest.NewSim(p, epoch)
	codes := map[string]int{"i0": 4, "i1": 0, "j0": 0}
	s.Program = func(c string, n int) podtest.Program {
		if c == "a" {
			return podtest.Program{Lasts: podtest.Forever}
		}
		return podtest.Program{Lasts: time.Second, Code: codes[c+string(rune('0'+n))]}
	}
	var order []string
	for range 40 {
		for _, st := range s.Plan().Steps {
			if st.Kind == pod.StepStartContainer {
				order = append(order, st.Attempt[len("0000-1111-"):])
			}
		}
		s.FinishAll()
		s.Advance(time.Second)
	}
	wantSound(t, s)
	want := []string{"i-0", "i-1", "j-0", "a-0"}
	if len(order) != len(want) {
		t.Fatalf("started %v, want %v", order, want)
	}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("started %v, want %v", order, want)
		}
	}
}

func TestInitContainerThatFailsForGood(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyNever, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	s := podtest.NewSim(p, epoch)
	s.Program = func(string, int) podtest.Program { return podtest.Program{Code: 1} }
	settle(t, s, time.Hour)
	st := s.Pod.Status
	if st.Phase != corev1.PodFailed || len(s.Obs.Attempts) != 1 || s.Obs.Sandbox != nil {
		t.Errorf("phase %s, attempts %d, sandbox %v", st.Phase, len(s.Obs.Attempts), s.Obs.Sandbox)
	}
	if w := st.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != pod.ReasonPodInitializing {
		t.Errorf("app container: %+v", st.ContainerStatuses[0].State)
	}
}

func TestRestartBackOff(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Program = func(string, int) podtest.Program { return podtest.Program{Code: 1} }
	var ends []time.Time
	var waits []time.Duration
	for len(waits) < 8 {
		d := s.Plan()
		for _, st := range d.Steps {
			if st.Kind == pod.StepCreateContainer && len(ends) > 0 {
				waits = append(waits, s.Now.Sub(ends[len(ends)-1]).Round(time.Millisecond))
			}
		}
		starts := len(d.Steps) == 1 && d.Steps[0].Kind == pod.StepStartContainer
		s.FinishAll()
		if starts {
			ends = append(ends, s.Now)
		} else if len(d.Steps) == 0 {
			s.Advance(d.Wake.Sub(s.Now))
		}
	}
	wantSound(t, s)
	want := []time.Duration{0, 10, 20, 40, 80, 160, 300, 300}
	for i, w := range want {
		if waits[i] != w*time.Second {
			t.Fatalf("waited %v, want %v seconds", waits, want)
		}
	}
	if n := len(s.Obs.Attempts); n > 2 {
		t.Errorf("%d attempts are kept", n)
	}
}

func TestBackOffBeginsAnewAfterALongRun(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Attempts[0].Streak = 5
	s.Advance(11 * time.Minute)
	s.Exit("0000-1111-a-0", pod.Exit{Code: 1})
	wantSteps(t, s, "create-container/a#1")
	if st := s.Last.Steps[0]; st.Streak != 1 {
		t.Errorf("streak %d", st.Streak)
	}
}

func TestBackOffIsSaid(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Attempts[0].Streak = 1
	s.Exit("0000-1111-a-0", pod.Exit{Code: 1})
	wantSteps(t, s, "")
	if !hasNotice(s.Last, "BackOff", "Back-off restarting failed container a in pod p_ns(0000-1111)") {
		t.Errorf("notices: %+v", s.Last.Notices)
	}
	if want := s.Now.Add(10 * time.Second); s.Last.Wake != want {
		t.Errorf("wakes at %v, want %v", s.Last.Wake, want)
	}
	cs := s.Pod.Status.ContainerStatuses[0]
	if w := cs.State.Waiting; w == nil || w.Reason != pod.ReasonCrashLoopBackOff ||
		w.Message != "back-off 10s restarting failed container=a pod=p_ns(0000-1111)" {
		t.Errorf("waiting: %+v", cs.State)
	}
	if cs.LastTerminationState.Terminated == nil || cs.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("last state: %+v", cs.LastTerminationState)
	}
	// A clock that is set back does not prolong the wait.
	s.Now = s.Now.Add(-time.Hour)
	if d := pod.Plan(s.Pod, s.Obs, s.Now); d.Wake.Sub(s.Now) > 10*time.Second {
		t.Errorf("waits for %v", d.Wake.Sub(s.Now))
	}
}

func TestRestartPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy corev1.RestartPolicy
		code   int
		steps  string
		phase  corev1.PodPhase
	}{
		{corev1.RestartPolicyAlways, 0, "create-container/a#1", corev1.PodRunning},
		{corev1.RestartPolicyAlways, 1, "create-container/a#1", corev1.PodRunning},
		{corev1.RestartPolicyOnFailure, 1, "create-container/a#1", corev1.PodRunning},
		{corev1.RestartPolicyOnFailure, 0, "", corev1.PodSucceeded},
		{corev1.RestartPolicyNever, 0, "", corev1.PodSucceeded},
		{corev1.RestartPolicyNever, 1, "", corev1.PodFailed},
	} {
		s := running(t, podtest.NewPod(tc.policy, "a"))
		s.Exit("0000-1111-a-0", pod.Exit{Code: tc.code})
		wantSteps(t, s, tc.steps)
		if got := s.Pod.Status.Phase; got != tc.phase {
			t.Errorf("%s, code %d: phase %s, want %s", tc.policy, tc.code, got, tc.phase)
		}
	}
}

func TestEndedPodReleasesItsNetworkAndKeepsItsLogs(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
	s.Exit("0000-1111-a-0", pod.Exit{})
	// Not before the API knows the phase.
	wantSteps(t, s, "")
	wantSteps(t, s, "detach-network")
	s.FinishAll()
	wantSteps(t, s, "remove-sandbox")
	s.FinishAll()
	wantSteps(t, s, "")
	if len(s.Obs.Attempts) != 1 || s.Last.Done {
		t.Errorf("attempts %d, done %v", len(s.Obs.Attempts), s.Last.Done)
	}
	if s.Pod.Status.PodIP != "10.0.0.2" {
		t.Errorf("IP %q", s.Pod.Status.PodIP)
	}
	// It is never started again, whatever is lost.
	s.Reboot()
	s.Vanish("0000-1111-a-0")
	before := s.Pod.Status.ContainerStatuses[0].State
	wantSteps(t, s, "")
	if after := s.Pod.Status.ContainerStatuses[0].State; after.Terminated == nil || *after.Terminated != *before.Terminated {
		t.Errorf("state %+v, before %+v", after, before)
	}
}

func TestSpecChangeReplacesTheAttempt(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyNever} {
		s := running(t, podtest.NewPod(policy, "a", "b"))
		s.Pod.Spec.Containers[0].Image = "example.test/a:2"
		wantSteps(t, s, "signal-container/a-0/15")
		if why := s.Last.Steps[0].Why; why != "Container a definition changed, will be restarted" {
			t.Errorf("why: %s", why)
		}
		s.FinishAll()
		wantSteps(t, s, "pull-image/example.test/a:2")
		s.FinishAll()
		wantSteps(t, s, "create-container/a#1")
		s.FinishAll()
		wantSteps(t, s, "start-container/a-1")
		s.FinishAll()
		wantSteps(t, s, "")
		if st := s.Pod.Status; st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 1 || st.ContainerStatuses[0].Image != "example.test/a:2" {
			t.Errorf("status: %+v", st)
		}
	}
}

func TestDeletion(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a", "b"))
	s.Program = nil
	s.Delete(30)
	wantSteps(t, s, "signal-container/a-0/15 signal-container/b-0/15")
	s.FinishAll()
	wantSteps(t, s, "remove-container/a-0 remove-container/b-0 detach-network")
	if s.Pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("phase %s", s.Pod.Status.Phase)
	}
	s.FinishAll()
	wantSteps(t, s, "remove-sandbox remove-volumes")
	s.FinishAll()
	wantSteps(t, s, "delete-pod")
	s.FinishAll()
	wantSteps(t, s, "")
	if !s.Done {
		t.Error("not done")
	}
}

func TestDeletionOfWhatWasNeverHere(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Delete(30)
	wantSteps(t, s, "delete-pod")
}

func TestKillWhenGraceIsOver(t *testing.T) {
	deaf := func(t *testing.T) *podtest.Sim {
		s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
		s.Program = func(string, int) podtest.Program { return podtest.Program{Lasts: podtest.Forever, IgnoresTerm: true} }
		settle(t, s, 0)
		return s
	}
	t.Run("whole grace", func(t *testing.T) {
		s := deaf(t)
		s.Delete(30)
		wantSteps(t, s, "signal-container/a-0/15")
		s.FinishAll()
		wantSteps(t, s, "")
		if got := s.Last.Wake.Sub(s.Now); got < 29*time.Second || got > 31*time.Second {
			t.Errorf("wakes in %v", got)
		}
		s.Advance(s.Last.Wake.Sub(s.Now))
		wantSteps(t, s, "signal-container/a-0/9")
		s.FinishAll()
		wantSteps(t, s, "remove-container/a-0 detach-network")
		if s.Pod.Status.Phase != corev1.PodFailed {
			t.Errorf("phase %s", s.Pod.Status.Phase)
		}
	})
	t.Run("shorter second grace", func(t *testing.T) {
		s := deaf(t)
		s.Delete(300)
		s.Plan()
		s.FinishAll()
		s.Advance(10 * time.Second)
		wantSteps(t, s, "")
		s.Delete(5)
		wantSteps(t, s, "signal-container/a-0/9")
	})
	t.Run("grace 0", func(t *testing.T) {
		s := deaf(t)
		s.Delete(0)
		wantSteps(t, s, "signal-container/a-0/9")
	})
	t.Run("restarted agent", func(t *testing.T) {
		s := deaf(t)
		s.Delete(30)
		s.Plan()
		s.FinishAll()
		s.Advance(20 * time.Second)
		s.RestartAgent(func(pod.Step) bool { return true })
		wantSteps(t, s, "signal-container/a-0/15")
		s.FinishAll()
		s.Plan()
		if got := s.Last.Wake.Sub(s.Now); got > 12*time.Second {
			t.Errorf("wakes in %v: the grace began anew", got)
		}
	})
	t.Run("killed again", func(t *testing.T) {
		s := deaf(t)
		s.Delete(0)
		s.Obs.Kills["0000-1111-a-0"] = s.Now
		wantSteps(t, s, "")
		s.Advance(pod.KillRetry)
		wantSteps(t, s, "signal-container/a-0/9")
	})
}

func TestCreatedAttemptIsRemovedNotSignalled(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.FinishAll()
	s.Delete(30)
	wantSteps(t, s, "remove-container/a-0")
}

func TestDeletionWaitsForWhatIsUnderWay(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.Delete(30)
	wantSteps(t, s, "")
	if s.Done || s.Pod.Status.Phase != corev1.PodPending {
		t.Errorf("done %v, phase %s", s.Done, s.Pod.Status.Phase)
	}
	s.FinishAll()
	wantSteps(t, s, "remove-container/a-0")
}

func TestDeadline(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	d := int64(60)
	p.Spec.ActiveDeadlineSeconds = &d
	s := running(t, p)
	wantSteps(t, s, "")
	if want := epoch.Add(time.Minute); !s.Last.Wake.Equal(want) {
		t.Fatalf("wakes at %v, want %v", s.Last.Wake, want)
	}
	s.Advance(s.Last.Wake.Sub(s.Now))
	wantSteps(t, s, "signal-container/a-0/15")
	if s.Pod.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %s while it still runs", s.Pod.Status.Phase)
	}
	settle(t, s, time.Minute)
	if st := s.Pod.Status; st.Phase != corev1.PodFailed || st.Reason != "DeadlineExceeded" ||
		st.Message != "Pod was active on the node longer than the specified deadline" {
		t.Errorf("phase %s, reason %s: %s", st.Phase, st.Reason, st.Message)
	}
	if s.Obs.Sandbox != nil {
		t.Error("the sandbox is still there")
	}
}

func TestDeadlineAfterTheEnd(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyNever, "a")
	d := int64(60)
	p.Spec.ActiveDeadlineSeconds = &d
	s := running(t, p)
	s.Exit("0000-1111-a-0", pod.Exit{})
	s.Advance(time.Hour)
	if s.Plan(); s.Pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("phase %s (%s)", s.Pod.Status.Phase, s.Pod.Status.Reason)
	}
}

func TestEviction(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Evicted = &pod.Eviction{Reason: pod.ReasonEvicted, Message: "The node was low on disk."}
	wantSteps(t, s, "signal-container/a-0/15")
	settle(t, s, time.Minute)
	if st := s.Pod.Status; st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != "The node was low on disk." {
		t.Errorf("phase %s, reason %s: %s", st.Phase, st.Reason, st.Message)
	}
}

func TestEvictionBeforeAnythingRan(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Obs.Evicted = &pod.Eviction{Reason: "OutOfcpu", Message: "no cpu"}
	wantSteps(t, s, "")
	if st := s.Pod.Status; st.Phase != corev1.PodFailed || st.Reason != "OutOfcpu" {
		t.Errorf("phase %s, reason %s", st.Phase, st.Reason)
	}
}

func TestReboot(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure} {
		p := podtest.NewPod(policy, "a")
		p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
		s := podtest.NewSim(p, epoch)
		s.Program = func(c string, _ int) podtest.Program {
			if c == "i" {
				return podtest.Program{}
			}
			return podtest.Program{Lasts: podtest.Forever}
		}
		settle(t, s, 0)
		s.Obs.Attempts[1].Streak = 6
		s.Reboot()
		wantSteps(t, s, "detach-network")
		s.FinishAll()
		wantSteps(t, s, "remove-sandbox")
		s.FinishAll()
		wantSteps(t, s, "prepare-volumes create-sandbox")
		if st := s.Pod.Status; st.Phase != corev1.PodRunning || st.PodIP != "" {
			t.Errorf("phase %s, IP %q", st.Phase, st.PodIP)
		}
		if c := condition(t, s.Pod.Status, corev1.PodInitialized); c.Status != corev1.ConditionTrue || c.Message != "" {
			t.Errorf("Initialized: %+v", c)
		}
		s.FinishAll()
		wantSteps(t, s, "attach-network create-container/i#1")
		settle(t, s, 0)
		st := s.Pod.Status
		if st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 1 || st.InitContainerStatuses[0].RestartCount != 1 || !st.ContainerStatuses[0].Ready {
			t.Errorf("%s: status %+v", policy, st)
		}
		if last := st.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 || last.Reason != pod.ReasonStatusUnknown {
			t.Errorf("last state %+v", last)
		}
	}
}

func TestRebootWithoutRestart(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
	s.Reboot()
	settle(t, s, time.Hour)
	if s.Pod.Status.Phase != corev1.PodFailed || s.Obs.Sandbox != nil || len(s.Obs.Attempts) != 1 {
		t.Errorf("phase %s, sandbox %v, attempts %d", s.Pod.Status.Phase, s.Obs.Sandbox, len(s.Obs.Attempts))
	}
}

func TestSandboxLostUnderRunningContainers(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Sandbox.Stale = true
	wantSteps(t, s, "signal-container/a-0/15")
	settle(t, s, time.Minute)
	if cs := s.Pod.Status.ContainerStatuses[0]; cs.RestartCount != 1 || !cs.Ready {
		t.Errorf("status %+v", cs)
	}
	s = running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Obs.Sandbox = nil
	wantSteps(t, s, "signal-container/a-0/15")
}

func TestFailedStepsAreRetriedLater(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	sandbox := pod.Step{Kind: pod.StepCreateSandbox}
	var waits []time.Duration
	for range 8 {
		s.Fail(sandbox, false, pod.ReasonCreateSandbox, "no room")
		s.FinishAll()
		wantSteps(t, s, "")
		waits = append(waits, s.Last.Wake.Sub(s.Now))
		s.Advance(waits[len(waits)-1])
		wantSteps(t, s, "create-sandbox")
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30, 30} {
		if waits[i] != want*time.Second {
			t.Fatalf("waited %v", waits)
		}
	}
	if w := s.Pod.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != pod.ReasonContainerCreating || w.Message != "no room" {
		t.Errorf("waiting %+v", w)
	}
}

func TestOldAndUnknownAttemptsAreRemoved(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	for n := range 3 {
		old := s.Obs.Attempts[0]
		old.ID, old.Number, old.State = "0000-1111-a-old"+string(rune('0'+n)), n-10, pod.AttemptExited
		old.Exit = &pod.Exit{Code: 1, FinishedAt: s.Now}
		s.Obs.Attempts = append(s.Obs.Attempts, old)
	}
	stray := s.Obs.Attempts[0]
	stray.ID, stray.Container = "0000-1111-x-0", "x"
	s.Obs.Attempts = append(s.Obs.Attempts, stray)
	wantSteps(t, s, "remove-container/a-old1 remove-container/a-old0 remove-container/x-0")
}

func TestTwoLiveAttemptsBecomeOne(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	second := s.Obs.Attempts[0]
	second.ID, second.Number = "0000-1111-a-1", 1
	s.Obs.Attempts = append(s.Obs.Attempts, second)
	if got := names(pod.Plan(s.Pod, s.Obs, s.Now)); got != "remove-container/a-0" {
		t.Errorf("steps %q", got)
	}
}

func TestVanishedAttemptIsMadeAnew(t *testing.T) {
	s := running(t, podtest.NewPod(corev1.RestartPolicyAlways, "a"))
	s.Vanish("0000-1111-a-0")
	wantSteps(t, s, "create-container/a#1")
	settle(t, s, 0)
	cs := s.Pod.Status.ContainerStatuses[0]
	if cs.RestartCount != 1 || cs.LastTerminationState.Terminated == nil || cs.LastTerminationState.Terminated.Reason != pod.ReasonStatusUnknown {
		t.Errorf("status %+v", cs)
	}
	s = running(t, podtest.NewPod(corev1.RestartPolicyNever, "a"))
	s.Vanish("0000-1111-a-0")
	wantSteps(t, s, "")
	if s.Pod.Status.Phase != corev1.PodFailed {
		t.Errorf("phase %s", s.Pod.Status.Phase)
	}
}

func TestKillTime(t *testing.T) {
	at := func(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }
	for _, tc := range []struct {
		name              string
		deleted, stop     int
		grace, ownGrace   int64
		isDeleted, hasOwn bool
		want              int
	}{
		{name: "default", stop: 0, want: 30},
		{name: "own", stop: 0, ownGrace: 5, hasOwn: true, want: 5},
		{name: "negative", stop: 0, ownGrace: -1, hasOwn: true, want: 0},
		{name: "deleted", isDeleted: true, deleted: 10, grace: 10, stop: 0, want: 10},
		{name: "deleted, told late", isDeleted: true, deleted: 10, grace: 10, stop: 8, want: 11},
		{name: "deleted, told after its grace", isDeleted: true, deleted: 10, grace: 10, stop: 100, want: 110},
		{name: "zero", isDeleted: true, deleted: 10, grace: 0, stop: 0, want: 0},
	} {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
		if tc.hasOwn {
			p.Spec.TerminationGracePeriodSeconds = &tc.ownGrace
		}
		if tc.isDeleted {
			d := metav1.NewTime(at(tc.deleted))
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &d, &tc.grace
		}
		if got := pod.KillTime(p, at(tc.stop)); got != at(tc.want) {
			t.Errorf("%s: %v after, want %d s", tc.name, got.Sub(epoch), tc.want)
		}
	}
}

func TestStepsOfADecisionAreDistinct(t *testing.T) {
	if a, b := (pod.Step{Kind: pod.StepSignalContainer, Attempt: "x", Signal: syscall.SIGTERM}).ID(),
		(pod.Step{Kind: pod.StepSignalContainer, Attempt: "x", Signal: syscall.SIGKILL}).ID(); a == b {
		t.Errorf("both are %s", a)
	}
}

func TestHalfMadeSandboxIsLeftAlone(t *testing.T) {
	for _, stale := range []bool{false, true} {
		s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
		wantSteps(t, s, "prepare-volumes create-sandbox pull-image/example.test/a:1")
		for _, st := range s.Flights() {
			if st.Kind != pod.StepCreateSandbox {
				s.Finish(st)
			}
		}
		s.Obs.Sandbox = &pod.Sandbox{CreatedAt: s.Now, Stale: stale}
		wantSteps(t, s, "")
	}
}

func TestNumberOfAVanishingAttemptIsNotUsedYet(t *testing.T) {
	s := podtest.NewSim(podtest.NewPod(corev1.RestartPolicyAlways, "a"), epoch)
	s.Plan()
	s.FinishAll()
	s.Plan()
	s.FinishAll()
	s.Pod.Spec.Containers[0].Args = []string{"other"}
	wantSteps(t, s, "remove-container/a-0")
	s.Vanish("0000-1111-a-0")
	wantSteps(t, s, "")
	s.FinishAll()
	wantSteps(t, s, "create-container/a#0")
}
