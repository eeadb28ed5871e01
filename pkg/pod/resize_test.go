package pod_test

import (
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

// sized is a running pod whose first container has these limits and requests.
func sized(t *testing.T, policy corev1.ResourceResizeRestartPolicy) *podtest.Sim {
	t.Helper()
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	c := &p.Spec.Containers[0]
	c.Resources = corev1.ResourceRequirements{
		Requests: quantities("cpu", "100m", "memory", "32Mi"), Limits: quantities("cpu", "200m", "memory", "64Mi"),
	}
	c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: policy}}
	return running(t, p)
}

func TestResizeInPlace(t *testing.T) {
	s := sized(t, corev1.NotRequired)
	wantSteps(t, s, "")
	first := s.Pod.Spec.Containers[0]
	id := s.Obs.Attempts[0].ID
	s.Pod.Generation = 2
	s.Pod.Spec.Containers[0].Resources.Limits = quantities("cpu", "200m", "memory", "128Mi")
	wantSteps(t, s, "resize")
	if todo := pod.InPlace(s.Pod, s.Obs, s.Now); len(todo) != 1 || todo["a"].ID != id {
		t.Errorf("in place: %v", todo)
	}

	s.Obs.Resize.Generation = 2
	st := pod.Status(s.Pod, s.Obs, s.Now)
	if c := condition(t, st, corev1.PodResizeInProgress); c.Status != corev1.ConditionTrue || c.Reason != "" || c.ObservedGeneration != 2 {
		t.Errorf("condition: %+v", c)
	}
	if got := st.ContainerStatuses[0].Resources; !apiequality.Semantic.DeepEqual(*got, first.Resources) {
		t.Errorf("the status says %v before anything was done", got)
	}
	s.Obs.Failures = map[pod.StepID]pod.Failure{"resize": {Count: 1, At: s.Now, Message: "no"}}
	if c := condition(t, pod.Status(s.Pod, s.Obs, s.Now), corev1.PodResizeInProgress); c.Reason != "Error" || c.Message != "no" {
		t.Errorf("condition of a failure: %+v", c)
	}

	clear(s.Obs.Failures)
	clear(s.Obs.InFlight)
	s.Obs.Attempts[0].Applied = pod.AppliedFor(s.Pod, &s.Pod.Spec.Containers[0])
	wantSteps(t, s, "")
	st = pod.Status(s.Pod, s.Obs, s.Now)
	for _, c := range st.Conditions {
		if pod.OfResize(c.Type) {
			t.Errorf("left behind: %+v", c)
		}
	}
	if got := st.ContainerStatuses[0].Resources.Limits.Memory().String(); got != "128Mi" {
		t.Errorf("the status says %s", got)
	}
	if got := st.ContainerStatuses[1].Resources; got == nil || len(got.Limits)+len(got.Requests) > 0 {
		t.Errorf("a container without resources has %v", got)
	}
}

func TestResizeWithARestart(t *testing.T) {
	s := sized(t, corev1.RestartContainer)
	s.Pod.Spec.Containers[0].Resources.Limits = quantities("cpu", "300m", "memory", "64Mi")
	wantSteps(t, s, "resize") // the policy is about memory
	s.Pod.Spec.Containers[0].Resources.Limits = quantities("cpu", "300m", "memory", "128Mi")
	d := s.Plan()
	if len(d.Steps) != 1 || d.Steps[0].Kind != pod.StepSignalContainer || d.Steps[0].Why != "Container a resize requires restart" {
		t.Fatalf("steps: %+v", d.Steps)
	}
	settle(t, s, time.Second) // and without any back-off
	if got := s.Pod.Status.ContainerStatuses[0]; got.RestartCount != 1 || got.State.Running == nil ||
		got.Resources.Limits.Memory().String() != "128Mi" {
		t.Errorf("status: %+v", got)
	}
}

// An init container that runs is resized as it runs, whatever it says of
// restarts; one that has ended is left alone.
func TestResizeOfAnInitContainer(t *testing.T) {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	i := &p.Spec.InitContainers[0]
	i.Resources.Limits = quantities("cpu", "200m", "memory", "64Mi")
	i.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
	s := podtest.NewSim(p, epoch)
	settle(t, s, 0)
	s.Pod.Spec.InitContainers[0].Resources.Limits = quantities("cpu", "300m", "memory", "64Mi")
	wantSteps(t, s, "resize")
	if todo := pod.InPlace(s.Pod, s.Obs, s.Now); len(todo) != 1 || todo["i"].ID != s.Obs.Attempts[0].ID {
		t.Errorf("in place: %v", todo)
	}
	s.Obs.Attempts[0].Applied = pod.AppliedFor(s.Pod, &s.Pod.Spec.InitContainers[0])
	clear(s.Obs.InFlight)
	wantSteps(t, s, "")

	s.Exit(s.Obs.Attempts[0].ID, pod.Exit{})
	settle(t, s, time.Second)
	s.Pod.Spec.InitContainers[0].Resources.Limits = quantities("cpu", "400m", "memory", "64Mi")
	wantSteps(t, s, "")
}

// An attempt of a carob that could not resize keeps running through the upgrade
// and gets its next size in place.
func TestResizeAfterAnUpgrade(t *testing.T) {
	s := sized(t, corev1.RestartContainer)
	at := &s.Obs.Attempts[0]
	at.Applied, at.SpecHash = "", "a813a9efcf6b14dc"
	wantSteps(t, s, "")
	g := pod.Granted(s.Pod, s.Obs.Attempts)
	if !g.Equal(pod.GrantOf(s.Pod)) {
		t.Errorf("granted: %+v", g)
	}
	s.Pod.Spec.Containers[0].Resources.Limits = quantities("cpu", "300m", "memory", "64Mi")
	found := pod.Granted(s.Pod, s.Obs.Attempts).Containers["a"]
	if got := found.Limits.Cpu().String(); got != "200m" {
		t.Errorf("granted %s", got)
	}
	wantSteps(t, pinned(s, g), "") // as long as nothing more is granted
	wantSteps(t, s, "resize")
	at.SpecHash = "another"
	if d := s.Plan(); len(d.Steps) == 0 || d.Steps[0].Kind == pod.StepResize {
		t.Errorf("another process is asked for, and the steps are %+v", d.Steps)
	}
}

// pinned is the simulation with what was granted.
func pinned(s *podtest.Sim, g pod.Grant) *podtest.Sim {
	q := *s
	q.Pod = g.Apply(s.Pod)
	return &q
}

func TestPendingResize(t *testing.T) {
	s := sized(t, corev1.NotRequired)
	s.Obs.Resize.Pending = &pod.PendingResize{Reason: "Deferred", Message: "full", Generation: 3}
	st := pod.Status(s.Pod, s.Obs, s.Now)
	c := condition(t, st, corev1.PodResizePending)
	if c.Reason != "Deferred" || c.Message != "full" || c.ObservedGeneration != 3 || c.LastTransitionTime.IsZero() {
		t.Errorf("condition: %+v", c)
	}
	s.Pod.Status = st
	later := s.Now.Add(time.Hour)
	if again := condition(t, pod.Status(s.Pod, s.Obs, later), corev1.PodResizePending); !apiequality.Semantic.DeepEqual(again, c) {
		t.Errorf("changed by time alone: %+v", again)
	}
	s.Obs.Resize.Pending.Generation = 4
	if again := condition(t, pod.Status(s.Pod, s.Obs, later), corev1.PodResizePending); again.LastTransitionTime != c.LastTransitionTime ||
		again.ObservedGeneration != 4 {
		t.Errorf("condition of the next one: %+v", again)
	}
}

// What the kernel says counts where it is something else than was asked for.
func TestResourcesOfTheKernel(t *testing.T) {
	s := sized(t, corev1.NotRequired)
	id := s.Obs.Attempts[0].ID
	for _, tc := range []struct {
		is   pod.Resources
		want string
	}{
		{pod.Resources{CPUShares: 102, CPUQuota: 20000, CPUPeriod: 100000, MemoryLimit: 64 << 20}, "100m 200m 64Mi"},
		{pod.Resources{CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000, MemoryLimit: 32 << 20}, "500m 500m 32Mi"},
		{pod.Resources{CPUQuota: 20000, CPUPeriod: 100000, MemoryLimit: 64<<20 - 4096}, "100m 200m 64Mi"},
	} {
		s.Obs.Limits = map[string]pod.Resources{id: tc.is}
		r := pod.Status(s.Pod, s.Obs, s.Now).ContainerStatuses[0].Resources
		if got := r.Requests.Cpu().String() + " " + r.Limits.Cpu().String() + " " + r.Limits.Memory().String(); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.is, got, tc.want)
		}
	}
	s.Obs.Limits[""] = pod.Resources{CPUShares: 2048, CPUQuota: pod.Unlimited, MemoryLimit: pod.Unlimited}
	wantSteps(t, s, "resize")
	s.Obs.Limits[""] = pod.Lifted(pod.PodResources(s.Pod))
	wantSteps(t, s, "")
}

// A group is never smaller than what lies in it, whichever way both change.
func TestLargerLeavesRoom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	limit := func() int64 { return []int64{pod.Unlimited, 1 << 20, 1 << 24, r.Int64N(1 << 30)}[r.IntN(4)] }
	fits := func(in, out int64) bool { return out <= 0 || in > 0 && in <= out }
	for range 2000 {
		a := pod.Resources{CPUShares: 2 + r.Uint64N(1000), MemoryLimit: limit(), CPUQuota: limit(), CPUPeriod: 100000}
		b := pod.Resources{CPUShares: 2 + r.Uint64N(1000), MemoryLimit: limit(), CPUQuota: limit(), CPUPeriod: 100000}
		l := pod.Larger(a, b)
		for _, x := range []pod.Resources{a, b} {
			if !fits(x.MemoryLimit, l.MemoryLimit) || !fits(x.CPUQuota, l.CPUQuota) || x.CPUShares > l.CPUShares {
				t.Fatalf("%+v and %+v: %+v", a, b, l)
			}
		}
		if !pod.SameLimits(pod.Larger(l, a), l) || !pod.SameLimits(pod.Larger(a, a), a) {
			t.Fatalf("%+v and %+v: not stable", a, b)
		}
	}
}

// A grant that is written down with the attempts is found again.
func TestGrantIsFoundAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	amounts := []string{"", "10m", "0.5", "1", "1500m"}
	for range 300 {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
		p.Spec.InitContainers = podtest.NewPod(corev1.RestartPolicyAlways, "i").Spec.Containers
		var attempts []pod.Attempt
		give := func() corev1.ResourceRequirements {
			var out corev1.ResourceRequirements
			if q := amounts[r.IntN(len(amounts))]; q != "" {
				out.Requests = quantities("cpu", q)
			}
			if r.IntN(2) == 0 {
				out.Limits = quantities("memory", "64Mi", "cpu", "2")
			}
			return out
		}
		set := func() {
			for i := range p.Spec.Containers {
				p.Spec.Containers[i].Resources = give()
			}
			p.Spec.InitContainers[0].Resources = give()
		}
		set()
		want := pod.GrantOf(p)
		for name := range want.Containers {
			c, init := pod.FindContainer(p, name)
			attempts = append(attempts, pod.Attempt{Container: name, Init: init, Applied: pod.AppliedFor(p, c)})
		}
		set()
		got := pod.Granted(p, attempts)
		if !got.Equal(want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if q := got.Apply(p); !pod.GrantOf(q).Equal(want) || q.Spec.Containers[0].Image != p.Spec.Containers[0].Image {
			t.Fatalf("applied: %+v", q.Spec)
		}
	}
}
