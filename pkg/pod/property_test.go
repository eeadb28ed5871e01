package pod_test

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func drawPod(t *rapid.T) *corev1.Pod {
	names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "apps")]
	policy := rapid.SampledFrom([]corev1.RestartPolicy{
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever,
	}).Draw(t, "policy")
	p := podtest.NewPod(policy, names...)
	if rapid.Bool().Draw(t, "shares") {
		share := true
		p.Spec.ShareProcessNamespace = &share
	}
	inits := podtest.NewPod(policy, []string{"i", "j"}[:rapid.IntRange(0, 2).Draw(t, "inits")]...)
	p.Spec.InitContainers = inits.Spec.Containers
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].ImagePullPolicy = rapid.SampledFrom([]corev1.PullPolicy{
			corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullIfNotPresent,
		}).Draw(t, "pull")
	}
	for i := range p.Spec.InitContainers {
		if rapid.Bool().Draw(t, "sidecar") {
			always := corev1.ContainerRestartPolicyAlways
			p.Spec.InitContainers[i].RestartPolicy = &always
			drawLife(t, &p.Spec.InitContainers[i])
		}
	}
	for i := range p.Spec.Containers {
		drawLife(t, &p.Spec.Containers[i])
	}
	if rapid.IntRange(0, 4).Draw(t, "limited") == 0 {
		d := rapid.Int64Range(1, 600).Draw(t, "deadline")
		p.Spec.ActiveDeadlineSeconds = &d
	}
	grace := rapid.Int64Range(0, 40).Draw(t, "grace")
	p.Spec.TerminationGracePeriodSeconds = &grace
	return p
}

// drawLife gives a container some of the probes and hooks.
func drawLife(t *rapid.T, c *corev1.Container) {
	some := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }
	if some("startup") {
		c.StartupProbe = &corev1.Probe{}
	}
	if some("liveness") {
		g := rapid.Int64Range(1, 50).Draw(t, "probe grace")
		c.LivenessProbe = &corev1.Probe{TerminationGracePeriodSeconds: &g}
	}
	if some("readiness") {
		c.ReadinessProbe = &corev1.Probe{}
	}
	if some("hooks") {
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}, PreStop: &corev1.LifecycleHandler{}}
	}
}

func drawProgram(t *rapid.T) podtest.Program {
	p := podtest.Program{
		Lasts:       rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, 11 * time.Minute, podtest.Forever}).Draw(t, "lasts"),
		Code:        rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "code"),
		IgnoresTerm: rapid.Bool().Draw(t, "deaf"),
	}
	if rapid.IntRange(0, 7).Draw(t, "broken") == 0 {
		p.StartError = "no such file"
	}
	return p
}

// machine lets anything happen to a pod, in any order.
type machine struct {
	*podtest.Sim
	reported corev1.PodStatus
}

func newMachine(t *rapid.T) *machine {
	s := podtest.NewSim(drawPod(t), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	s.Program = func(string, int) podtest.Program { return drawProgram(t) }
	s.HookFails = func(pod.Step) bool { return rapid.IntRange(0, 3).Draw(t, "hook fails") == 0 }
	return &machine{Sim: s}
}

func (m *machine) sound(t *rapid.T) {
	t.Helper()
	for _, b := range m.Broken {
		t.Errorf("%s", b)
	}
	if len(m.Broken) > 0 {
		t.FailNow()
	}
}

func (m *machine) attempt(t *rapid.T) string {
	if len(m.Obs.Attempts) == 0 {
		return ""
	}
	return m.Obs.Attempts[rapid.IntRange(0, len(m.Obs.Attempts)-1).Draw(t, "attempt")].ID
}

func (m *machine) finishOne(t *rapid.T) {
	l := m.Flights()
	if len(l) == 0 {
		return
	}
	st := l[rapid.IntRange(0, len(l)-1).Draw(t, "flight")]
	switch rapid.IntRange(0, 5).Draw(t, "outcome") {
	case 0:
		m.Fail(st, false, "", "it did not work")
	case 1:
		m.Fail(st, true, "", "the answer was lost")
	default:
		m.Finish(st)
	}
}

func (m *machine) actions() map[string]func(*rapid.T) {
	plan := func(t *rapid.T) {
		m.Plan()
		m.sound(t)
	}
	return map[string]func(*rapid.T){
		"plan":   plan,
		"again":  plan,
		"finish": m.finishOne,
		"finish all": func(t *rapid.T) {
			m.FinishAll()
			plan(t)
		},
		"work": func(t *rapid.T) {
			for range rapid.IntRange(2, 6).Draw(t, "rounds") {
				plan(t)
				m.FinishAll()
			}
		},
		"advance": func(t *rapid.T) {
			m.Advance(rapid.SampledFrom([]time.Duration{
				time.Millisecond, time.Second, 7 * time.Second, 30 * time.Second, 6 * time.Minute,
			}).Draw(t, "time"))
		},
		"exit": func(t *rapid.T) {
			if id := m.attempt(t); id != "" {
				m.Exit(id, pod.Exit{Code: rapid.SampledFrom([]int{0, 1, 137}).Draw(t, "code")})
			}
		},
		"vanish": func(t *rapid.T) {
			if id := m.attempt(t); id != "" {
				m.Vanish(id)
			}
		},
		"probe": func(t *rapid.T) {
			if id := m.attempt(t); id != "" {
				k := rapid.SampledFrom([]pod.ProbeKind{pod.StartupProbe, pod.LivenessProbe, pod.ReadinessProbe}).Draw(t, "probe")
				m.Probe(id, k, rapid.Bool().Draw(t, "good"))
			}
		},
		"probe all": func(*rapid.T) { m.ProbeAll() },
		"delete": func(t *rapid.T) {
			if rapid.IntRange(0, 4).Draw(t, "really") == 0 {
				m.Delete(rapid.Int64Range(0, 40).Draw(t, "grace"))
			}
		},
		"restart agent": func(t *rapid.T) {
			m.RestartAgent(func(pod.Step) bool { return rapid.Bool().Draw(t, "happened") })
		},
		"reboot": func(*rapid.T) { m.Reboot() },
		"lose sandbox": func(*rapid.T) {
			if m.Obs.Sandbox != nil {
				m.Obs.Sandbox.Stale = true
			}
		},
		"evict": func(t *rapid.T) {
			if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
				m.Obs.Evicted = &pod.Eviction{Reason: pod.ReasonEvicted, Message: "the disk is full"}
			}
		},
		"edit image": func(t *rapid.T) {
			c := &m.Pod.Spec.Containers[rapid.IntRange(0, len(m.Pod.Spec.Containers)-1).Draw(t, "container")]
			c.Image = rapid.SampledFrom([]string{"example.test/x:1", "example.test/x:2"}).Draw(t, "image")
			m.Pod.Generation++
		},
		"lose image": func(*rapid.T) { clear(m.Obs.Images) },
		"": func(t *rapid.T) {
			d, again := pod.Plan(m.Pod, m.Obs, m.Now), pod.Plan(m.Pod, m.Obs, m.Now)
			if !reflect.DeepEqual(d, again) {
				t.Fatalf("Plan is not deterministic:\n%+v\n%+v", d, again)
			}
			if !d.Wake.IsZero() && !d.Wake.After(m.Now) {
				t.Fatalf("wakes at %v, which is not after %v", d.Wake, m.Now)
			}
			m.sound(t)
		},
	}
}

func TestAnythingMayHappen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		newMachine(t).run(t)
	})
}

func (m *machine) run(t *rapid.T) {
	t.Repeat(m.actions())
}

// Whatever has happened before, a deletion ends with nothing left, soon after
// its grace period.
func TestDeletionAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(t)
		m.Delete(30)
		m.FinishAll()
		begin := m.Now
		if !m.Settle(5*time.Minute) || !m.Done {
			t.Fatalf("not done: %+v\n%+v", m.Last, m.Obs)
		}
		m.sound(t)
		if took := m.Now.Sub(begin); took > 2*time.Minute {
			t.Fatalf("took %v", took)
		}
	})
}

// Whatever has happened before, a pod that is left alone comes to rest: the
// next plan has no steps, and the status stays as it is.
func TestComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		m.run(t)
		// From now on nothing crashes.
		m.Program = func(c string, _ int) podtest.Program {
			if pod.IsInit(m.Pod, c) {
				return podtest.Program{}
			}
			return podtest.Program{Lasts: podtest.Forever}
		}
		m.HookFails, m.AutoProbe = nil, true
		m.FinishAll()
		if !m.Settle(2 * time.Hour) {
			t.Fatalf("no rest: %+v\n%+v", m.Last, m.Obs)
		}
		m.sound(t)
		if m.Done {
			return
		}
		d := m.Plan()
		if len(d.Steps) > 0 {
			t.Fatalf("steps at rest: %+v\n%+v", d.Steps, m.Obs)
		}
		m.reported = m.Pod.Status
		if again := pod.Status(m.Pod, m.Obs, m.Now.Add(time.Hour)); m.Pod.Spec.ActiveDeadlineSeconds == nil && !equality.Semantic.DeepEqual(again, m.reported) {
			t.Fatalf("the status changes at rest:\n%+v\n%+v", m.reported, again)
		}
	})
}
