package pod_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestWithReadOnly(t *testing.T) {
	const (
		no, maybe, yes = corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled
	)
	for _, tc := range []struct {
		mode corev1.RecursiveReadOnlyMode
		can  bool
		want corev1.RecursiveReadOnlyMode
		err  string
	}{
		{mode: no, can: true, want: no},
		{mode: maybe, can: true, want: yes},
		{mode: maybe, want: no},
		{mode: yes, can: true, want: yes},
		{mode: yes, err: `failed to resolve recursive read-only mode: volume "v" requested recursive read-only mode, but it is not supported by the runtime`},
		{mode: "Perhaps", can: true, err: `failed to resolve recursive read-only mode: unknown recursive read-only mode "Perhaps"`},
	} {
		p := podtest.NewPod("", "a")
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: ptr.To(tc.mode)}}
		got, err := pod.WithReadOnly(p, "a", pod.Features{RecursiveReadOnly: tc.can})
		if tc.err != "" {
			if err == nil || err.Error() != tc.err || !errors.Is(err, pod.ErrConfig) {
				t.Errorf("%s, %v: error %v, want %s", tc.mode, tc.can, err, tc.err)
			}
			continue
		}
		if err != nil || *got.Spec.Containers[0].VolumeMounts[0].RecursiveReadOnly != tc.want {
			t.Errorf("%s, %v: %v %v, want %s", tc.mode, tc.can, got, err, tc.want)
		}
		if *p.Spec.Containers[0].VolumeMounts[0].RecursiveReadOnly != tc.mode {
			t.Error("the pod itself was changed")
		}
	}
	p := podtest.NewPod("", "a")
	if got, err := pod.WithReadOnly(p, "a", pod.Features{}); err != nil || got != p {
		t.Errorf("without mounts: %v %v", got, err)
	}
}

func TestPropagates(t *testing.T) {
	p := podtest.NewPod("", "a")
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
		{Name: "v", MountPropagation: ptr.To(corev1.MountPropagationHostToContainer)},
		{Name: "w", MountPropagation: ptr.To(corev1.MountPropagationNone)}, {Name: "x"},
	}
	for name, want := range map[string]bool{"v": true, "w": false, "x": false, "y": false} {
		if got := pod.Propagates(p, name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
