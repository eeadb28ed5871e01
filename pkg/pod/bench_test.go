package pod_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func benchPod(b *testing.B) *podtest.Sim {
	p := podtest.NewPod(corev1.RestartPolicyAlways, "a", "b")
	p.Spec.InitContainers = podtest.NewPod("", "i").Spec.Containers
	s := podtest.NewSim(p, epoch)
	s.Program = func(c string, _ int) podtest.Program {
		if c == "i" {
			return podtest.Program{}
		}
		return podtest.Program{Lasts: podtest.Forever}
	}
	if !s.Settle(time.Minute) {
		b.Fatal("no rest")
	}
	return s
}

func BenchmarkPlan(b *testing.B) {
	s := benchPod(b)
	b.ReportAllocs()
	for b.Loop() {
		pod.Plan(s.Pod, s.Obs, s.Now)
	}
}

func BenchmarkStatus(b *testing.B) {
	s := benchPod(b)
	b.ReportAllocs()
	for b.Loop() {
		pod.Status(s.Pod, s.Obs, s.Now)
	}
}
