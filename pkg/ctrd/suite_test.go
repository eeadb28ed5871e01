package ctrd

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestRuntime(t *testing.T) {
	b := newBench(t)
	podtest.TestRuntime(t, func(t *testing.T) podtest.Subject {
		r := b.ready(t)
		return podtest.Subject{
			Runtime: r, View: r, Images: r,
			Image:   testImage,
			Sandbox: func(t *testing.T, p *corev1.Pod) pod.Sandbox { return b.sandbox(t, p.UID) },
			Reopen: func(t *testing.T) (pod.Runtime, pod.RuntimeView) {
				again := b.connect(t)
				return again, again
			},
		}
	})
}
