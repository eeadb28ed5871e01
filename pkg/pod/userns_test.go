package pod_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
)

func TestCheckOwnUsers(t *testing.T) {
	own, node, silent := &corev1.Pod{}, &corev1.Pod{}, &corev1.Pod{}
	own.Spec.HostUsers, node.Spec.HostUsers = ptr.To(false), ptr.To(true)
	for _, tc := range []struct {
		p       *corev1.Pod
		handler string
		can     bool
		want    string
	}{
		{own, "", true, ""}, {own, "x", true, ""}, {node, "", false, ""}, {silent, "x", false, ""},
		{own, "", false, "can't set `spec.hostUsers: false`, runtime does not support user namespaces"},
		{own, "x", false, "can't set `spec.hostUsers: false`, RuntimeClass handler \"x\" does not support user namespaces"},
	} {
		err := pod.CheckOwnUsers(tc.p, tc.handler, pod.Features{UserNamespaces: tc.can})
		if tc.want == "" {
			if err != nil {
				t.Errorf("%v %q %v: %v", tc.p.Spec.HostUsers, tc.handler, tc.can, err)
			}
			continue
		}
		if !errors.Is(err, pod.ErrConfig) || err.Error() != tc.want {
			t.Errorf("%q: %v", tc.handler, err)
		}
	}
}

func TestIDRange(t *testing.T) {
	none, r := pod.IDRange{}, pod.IDRange{First: 131072, Size: 65536}
	for id, want := range map[uint32]uint32{0: 131072, 1000: 132072, 65535: 196607, 65536: 65536, 131072: 131072, 1<<32 - 1: 1<<32 - 1} {
		if got := r.Outside(id); got != want {
			t.Errorf("%d is %d outside, want %d", id, got, want)
		}
		if got := none.Outside(id); got != id {
			t.Errorf("without a range %d is %d outside", id, got)
		}
	}
	if err := errors.Join(none.CheckIDs(100000, 100000), r.CheckIDs(65535, 0, 65535)); err != nil {
		t.Error(err)
	}
	for _, err := range []error{r.CheckIDs(65536), r.CheckIDs(0, 1, 65536)} {
		if !errors.Is(err, pod.ErrConfig) {
			t.Errorf("%v", err)
		}
	}
}

func TestProcMount(t *testing.T) {
	c := corev1.Container{SecurityContext: &corev1.SecurityContext{}}
	for mount, want := range map[*corev1.ProcMountType]bool{
		nil: false, ptr.To(corev1.DefaultProcMount): false, ptr.To(corev1.UnmaskedProcMount): true,
	} {
		c.SecurityContext.ProcMount = mount
		if got := pod.SecurityFor(&corev1.Pod{}, &c).UnmaskedProc; got != want {
			t.Errorf("unmasked %v, want %v", got, want)
		}
	}
}
