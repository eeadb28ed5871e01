package budget

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestAllocations(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sim := func() *podtest.Sim {
		p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
		p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
		s := podtest.NewSim(p, at)
		s.Program = func(c string, _ int) podtest.Program {
			if c == "i" {
				return podtest.Program{}
			}
			return podtest.Program{Lasts: podtest.Forever}
		}
		return s
	}
	fresh, running := sim(), sim()
	if !running.Settle(time.Minute) {
		t.Fatal("the pod does not come to rest")
	}
	measure := func(f func()) int { return int(testing.AllocsPerRun(1000, f)) }
	spent := counts{
		"planOfNewPod":       measure(func() { pod.Plan(fresh.Pod, fresh.Obs, fresh.Now) }),
		"planOfRunningPod":   measure(func() { pod.Plan(running.Pod, running.Obs, running.Now) }),
		"statusOfRunningPod": measure(func() { pod.Status(running.Pod, running.Obs, running.Now) }),
	}
	t.Logf("allocations: %v", spent)
	hold(t, "allocations", "allocations a call", spent, budget(t).Allocations, exact)
}
