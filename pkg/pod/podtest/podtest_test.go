package podtest_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestFakePassesTheSuite(t *testing.T) {
	const image = "example.test/busybox:1"
	podtest.TestRuntime(t, func(t *testing.T) podtest.Subject {
		w := podtest.NewWorld(nil, image)
		return podtest.Subject{
			Runtime: w.Runtime, View: w.Runtime, Images: w.Images, Image: image,
			Sandbox: func(t *testing.T, p *corev1.Pod) pod.Sandbox {
				s, err := w.Sandboxes.Create(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				return *s
			},
			Reopen: func(*testing.T) (pod.Runtime, pod.RuntimeView) { return w.Runtime, w.Runtime },
		}
	})
}

var (
	_ pod.Runtime     = (*podtest.Runtime)(nil)
	_ pod.RuntimeView = (*podtest.Runtime)(nil)
	_ pod.Images      = (*podtest.Images)(nil)
	_ pod.Sandboxes   = (*podtest.Sandboxes)(nil)
	_ pod.SandboxView = (*podtest.Sandboxes)(nil)
	_ pod.Volumes     = (*podtest.Volumes)(nil)
)
