package pod_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func sidecarPod(policy corev1.RestartPolicy, sidecars ...string) *corev1.Pod {
	p := podtest.NewPod(policy, "a")
	p.Spec.InitContainers = podtest.NewPod(policy, sidecars...).Spec.Containers
	always := corev1.ContainerRestartPolicyAlways
	for i := range p.Spec.InitContainers {
		p.Spec.InitContainers[i].RestartPolicy = &always
	}
	grace := int64(30)
	p.Spec.TerminationGracePeriodSeconds = &grace
	return p
}

func hooked(p *corev1.Pod) *corev1.Pod {
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}, PreStop: &corev1.LifecycleHandler{}}
	grace := int64(30)
	p.Spec.TerminationGracePeriodSeconds = &grace
	return p
}

func app(s *podtest.Sim) corev1.ContainerStatus { return s.Pod.Status.ContainerStatuses[0] }

func TestReadinessFollowsTheProbe(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
	s := running(t, p)
	if st := app(s); st.Ready || !*st.Started {
		t.Fatalf("before the first verdict: %+v", st)
	}
	for _, good := range []bool{true, false, true} {
		s.Probe("0000-1111-a-0", pod.ReadinessProbe, good)
		wantSteps(t, s, "")
		want := corev1.ConditionFalse
		if good {
			want = corev1.ConditionTrue
		}
		if c := condition(t, s.Pod.Status, corev1.PodReady); c.Status != want || app(s).Ready != good {
			t.Fatalf("probe says %v: %+v", good, c)
		}
	}
	// An agent that restarts keeps what was said.
	s.RestartAgent(func(pod.Step) bool { return true })
	if s.Report(); !app(s).Ready {
		t.Fatal("a restart of the agent made it unready")
	}
}

func TestStartupProbeHoldsReadiness(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.Containers[0].StartupProbe = &corev1.Probe{}
	s := running(t, p)
	if st := app(s); st.Ready || *st.Started || st.State.Running == nil {
		t.Fatalf("before: %+v", st)
	}
	s.Probe("0000-1111-a-0", pod.StartupProbe, true)
	wantSteps(t, s, "")
	if st := app(s); !st.Ready || !*st.Started {
		t.Fatalf("after: %+v", st)
	}
	s.RestartAgent(func(pod.Step) bool { return true })
	if s.Report(); !app(s).Ready || !*app(s).Started {
		t.Fatal("a restart of the agent forgot the start")
	}
}

func TestFailedProbesStopTheContainer(t *testing.T) {
	own, long := int64(3), int64(60)
	for _, tc := range []struct {
		name    string
		kind    pod.ProbeKind
		policy  corev1.RestartPolicy
		grace   *int64
		message string
		kill    time.Duration
	}{
		{"liveness", pod.LivenessProbe, corev1.RestartPolicyAlways, nil, "Container a failed liveness probe, will be restarted", 30 * time.Second},
		{"own grace", pod.LivenessProbe, corev1.RestartPolicyOnFailure, &own, "Container a failed liveness probe, will be restarted", 3 * time.Second},
		{"startup", pod.StartupProbe, corev1.RestartPolicyNever, &long, "Container a failed startup probe", time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := podtest.NewPod(tc.policy, "a")
			probe := &corev1.Probe{TerminationGracePeriodSeconds: tc.grace}
			if tc.kind == pod.StartupProbe {
				p.Spec.Containers[0].StartupProbe = probe
			} else {
				p.Spec.Containers[0].LivenessProbe = probe
			}
			s := podtest.NewSim(p, epoch)
			s.Program = func(string, int) podtest.Program { return podtest.Program{Lasts: podtest.Forever, IgnoresTerm: true} }
			settle(t, s, 0)
			s.Probe("0000-1111-a-0", tc.kind, false)
			wantSteps(t, s, "signal-container/a-0/15")
			if why := s.Last.Steps[0].Why; why != tc.message {
				t.Errorf("why: %s", why)
			}
			s.FinishAll()
			began := s.Now
			if wantSteps(t, s, ""); !s.Last.Wake.Equal(began.Add(tc.kill)) {
				t.Errorf("killed at %v", s.Last.Wake.Sub(began))
			}
			s.Advance(tc.kill)
			wantSteps(t, s, "signal-container/a-0/9")
			s.FinishAll()
			s.Plan()
			if tc.policy == corev1.RestartPolicyNever {
				if s.Settle(0); s.Pod.Status.Phase != corev1.PodFailed {
					t.Errorf("phase %s", s.Pod.Status.Phase)
				}
				return
			}
			if s.Settle(0); s.Attempt("0000-1111-a-1") == nil {
				t.Error("not restarted")
			}
		})
	}
}

func TestPostStartHoldsRunning(t *testing.T) {
	s := podtest.NewSim(hooked(podtest.NewPod(corev1.RestartPolicyAlways, "a")), epoch)
	for range 20 {
		s.Plan()
		if l := s.Flights(); len(l) == 1 && l[0].Kind == pod.StepPostStart {
			break
		}
		s.FinishAll()
	}
	if w := app(s).State.Waiting; w == nil || w.Reason != pod.ReasonContainerCreating {
		t.Fatalf("state %+v", app(s).State)
	}
	s.FinishAll()
	wantSteps(t, s, "")
	if !app(s).Ready || s.Pod.Status.Phase != corev1.PodRunning {
		t.Fatalf("status %+v", s.Pod.Status)
	}
	// What a status shows as running has had its hook.
	s.RestartAgent(func(pod.Step) bool { return true })
	wantSteps(t, s, "prepare-volumes")
}

func TestFailedPostStartReplacesTheContainer(t *testing.T) {
	s := podtest.NewSim(hooked(podtest.NewPod(corev1.RestartPolicyAlways, "a")), epoch)
	s.HookFails = func(st pod.Step) bool { return st.Kind == pod.StepPostStart && st.Number == 0 }
	for range 20 {
		if s.Plan(); len(s.Last.Steps) == 1 && s.Last.Steps[0].Kind == pod.StepPreStop {
			break
		}
		s.FinishAll()
	}
	if w := app(s).State.Waiting; w == nil || w.Reason != pod.ReasonPostStartHook || w.Message != "the hook" {
		t.Fatalf("state %+v", app(s).State)
	}
	if why := s.Last.Steps[0].Why; why != "FailedPostStartHook" {
		t.Errorf("why: %s", why)
	}
	settle(t, s, time.Minute)
	if !app(s).Ready || app(s).RestartCount != 1 {
		t.Errorf("status %+v", app(s))
	}
}

func TestPreStopTakesOfTheGracePeriod(t *testing.T) {
	s := podtest.NewSim(hooked(podtest.NewPod(corev1.RestartPolicyAlways, "a")), epoch)
	s.Program = func(string, int) podtest.Program { return podtest.Program{Lasts: podtest.Forever, IgnoresTerm: true} }
	settle(t, s, 0)
	s.Delete(30)
	wantSteps(t, s, "pre-stop/a-0")
	if st := s.Last.Steps[0]; st.Limit < 29*time.Second || st.Limit > 31*time.Second || st.Why != "Stopping container a" {
		t.Errorf("step %+v", st)
	}
	s.Advance(10 * time.Second)
	wantSteps(t, s, "")
	s.FinishAll()
	wantSteps(t, s, "signal-container/a-0/15")
	if why := s.Last.Steps[0].Why; why != "" {
		t.Errorf("told twice: %s", why)
	}
	s.FinishAll()
	wantSteps(t, s, "")
	if rest := s.Last.Wake.Sub(s.Now); rest < 19*time.Second || rest > 21*time.Second {
		t.Errorf("killed after another %v", rest)
	}
}

func TestPreStopThatNeverEnds(t *testing.T) {
	s := podtest.NewSim(hooked(podtest.NewPod(corev1.RestartPolicyAlways, "a")), epoch)
	s.Program = func(string, int) podtest.Program { return podtest.Program{Lasts: podtest.Forever, IgnoresTerm: true} }
	settle(t, s, 0)
	s.Delete(30)
	wantSteps(t, s, "pre-stop/a-0")
	s.Advance(31 * time.Second)
	wantSteps(t, s, "signal-container/a-0/15")
	for _, st := range s.Flights() {
		if st.Kind == pod.StepSignalContainer {
			s.Finish(st)
		}
	}
	wantSteps(t, s, "")
	if rest := s.Last.Wake.Sub(s.Now); rest != pod.MinStop {
		t.Errorf("killed after another %v", rest)
	}
	s.Advance(pod.MinStop)
	wantSteps(t, s, "signal-container/a-0/9")
}

func TestNoGraceNoHook(t *testing.T) {
	s := running(t, hooked(podtest.NewPod(corev1.RestartPolicyAlways, "a")))
	s.Delete(0)
	s.Advance(2 * time.Second)
	p := s.Pod.DeepCopy()
	p.DeletionTimestamp.Time = s.Now.Add(-time.Minute)
	d := pod.Plan(p, s.Obs, s.Now)
	if len(d.Steps) != 1 || d.Steps[0].Signal != syscall.SIGKILL {
		t.Errorf("steps %+v", d.Steps)
	}
}

func TestSidecarsComeFirstAndGoLast(t *testing.T) {
	p := sidecarPod(corev1.RestartPolicyAlways, "s", "u")
	p.Spec.InitContainers[0].StartupProbe = &corev1.Probe{}
	s := podtest.NewSim(p, epoch)
	settle(t, s, 0)
	if len(s.Obs.Attempts) != 1 || s.Pod.Status.Phase != corev1.PodPending {
		t.Fatalf("before the startup probe: %+v", s.Obs.Attempts)
	}
	if c := condition(t, s.Pod.Status, corev1.PodInitialized); c.Message != "containers with incomplete status: [s u]" {
		t.Errorf("condition %+v", c)
	}
	s.Probe("0000-1111-s-0", pod.StartupProbe, true)
	settle(t, s, 0)
	if s.Pod.Status.Phase != corev1.PodRunning || condition(t, s.Pod.Status, corev1.PodReady).Status != corev1.ConditionTrue {
		t.Fatalf("status %+v", s.Pod.Status)
	}
	// One that ends is restarted, also after the others.
	s.Exit("0000-1111-u-0", pod.Exit{})
	settle(t, s, 0)
	if s.Attempt("0000-1111-u-1") == nil || s.Pod.Status.InitContainerStatuses[1].RestartCount != 1 {
		t.Error("not restarted")
	}
	s.Delete(30)
	for _, want := range []string{"signal-container/a-0/15", "signal-container/u-1/15", "signal-container/s-0/15"} {
		for range 5 {
			if s.Plan(); len(s.Last.Steps) > 0 && s.Last.Steps[0].Kind == pod.StepSignalContainer {
				break
			}
			s.FinishAll()
		}
		if got, _, _ := strings.Cut(names(s.Last), " remove-container"); got != want {
			t.Errorf("steps %q, want %q", got, want)
		}
		s.FinishAll()
	}
	wantSound(t, s)
}

func TestSidecarsDoNotKeepAPodAlive(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure} {
		s := podtest.NewSim(sidecarPod(policy, "s"), epoch)
		s.Program = func(c string, _ int) podtest.Program {
			if c == "s" {
				return podtest.Program{Lasts: podtest.Forever, TermCode: 7}
			}
			return podtest.Program{Lasts: time.Minute}
		}
		settle(t, s, time.Hour)
		if s.Pod.Status.Phase != corev1.PodSucceeded || s.Live() > 0 {
			t.Errorf("%s: %+v", policy, s.Pod.Status)
		}
		if st := s.Pod.Status.InitContainerStatuses[0]; st.State.Terminated == nil || st.State.Terminated.ExitCode != 7 || st.RestartCount != 0 {
			t.Errorf("%s: sidecar %+v", policy, st)
		}
	}
}

// A sidecar that has waited for its turn until the time was over still is told,
// and gets a moment.
func TestSidecarsShareTheGracePeriod(t *testing.T) {
	s := podtest.NewSim(sidecarPod(corev1.RestartPolicyAlways, "s"), epoch)
	s.Program = func(string, int) podtest.Program { return podtest.Program{Lasts: podtest.Forever, IgnoresTerm: true} }
	settle(t, s, 0)
	s.Delete(30)
	wantSteps(t, s, "signal-container/a-0/15")
	s.FinishAll()
	s.Advance(32 * time.Second)
	wantSteps(t, s, "signal-container/a-0/9 signal-container/s-0/15")
	for _, st := range s.Flights() {
		if st.Signal == syscall.SIGTERM {
			s.Finish(st)
		}
	}
	wantSteps(t, s, "")
	s.Advance(pod.MinStop)
	wantSteps(t, s, "signal-container/s-0/9")
}

func TestReadinessGates(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x/a"}, {ConditionType: "x/b"}}
	s := running(t, p)
	set := func(kind corev1.PodConditionType, st corev1.ConditionStatus) {
		s.Pod.Status.Conditions = append(s.Pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: st})
	}
	set("x/a", corev1.ConditionFalse)
	c := condition(t, s.Report(), corev1.PodReady)
	if c.Reason != "ReadinessGatesNotReady" || c.Message != `the status of pod readiness gate "x/a" is not "True", but False, corresponding condition of pod readiness gate "x/b" does not exist.` {
		t.Errorf("condition %+v", c)
	}
	if c := condition(t, s.Pod.Status, corev1.ContainersReady); c.Status != corev1.ConditionTrue {
		t.Errorf("containers %+v", c)
	}
	s.Pod.Status.Conditions = nil
	set("x/a", corev1.ConditionTrue)
	set("x/b", corev1.ConditionTrue)
	if c := condition(t, s.Report(), corev1.PodReady); c.Status != corev1.ConditionTrue {
		t.Errorf("condition %+v", c)
	}
}

func TestStopSignal(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	quit := corev1.Signal("SIGQUIT")
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{StopSignal: &quit}
	s := running(t, p)
	s.Delete(30)
	wantSteps(t, s, "signal-container/a-0/3")
	for name, want := range map[string]syscall.Signal{"SIGTERM": 15, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMAX-1": 63, "SIGRTMAX": 64} {
		if got, ok := pod.SignalNumber(name); !ok || got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
	for _, name := range []string{"", "TERM", "SIGRTMIN+99", "SIGRTMIN+", "SIGRTMAX+1", "sigterm"} {
		if _, ok := pod.SignalNumber(name); ok {
			t.Errorf("%q is a signal", name)
		}
	}
}
