package ctrd

import (
	"slices"
	"testing"

	"github.com/moby/sys/mountinfo"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

func TestBindOptions(t *testing.T) {
	for _, tc := range []struct {
		mount pod.Mount
		want  []string
	}{
		{pod.Mount{}, []string{"bind", "rprivate", "rw"}},
		{pod.Mount{ReadOnly: true, Recursive: true, RecursiveReadOnly: true}, []string{"rbind", "rprivate", "rro"}},
		{pod.Mount{RecursiveReadOnly: true}, []string{"bind", "rprivate", "rw"}},
		{pod.Mount{Recursive: true, Propagation: corev1.MountPropagationHostToContainer}, []string{"rbind", "rslave", "rw"}},
		{pod.Mount{Recursive: true, Propagation: corev1.MountPropagationBidirectional, ReadOnly: true}, []string{"rbind", "rshared", "ro"}},
	} {
		if got := bindOptions(tc.mount); !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %v, want %v", tc.mount, got, tc.want)
		}
	}
}

func TestRootPropagation(t *testing.T) {
	none, slave, shared := pod.Mount{}, pod.Mount{Propagation: corev1.MountPropagationHostToContainer}, pod.Mount{Propagation: corev1.MountPropagationBidirectional}
	for want, mounts := range map[string][]pod.Mount{"": {none}, rSlave: {none, slave}, rShared: {slave, shared, slave}} {
		if got := rootPropagation(mounts); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOnSharedMount(t *testing.T) {
	mounts := []*mountinfo.Info{
		{Mountpoint: "/", Optional: "shared:1"}, {Mountpoint: "/a", Optional: ""}, {Mountpoint: "/a/b", Optional: "master:1 propagate_from:2"},
		{Mountpoint: "/a/b/c", Optional: "shared:7 master:1"},
	}
	for _, tc := range []struct {
		mounts     int
		kind, want string
	}{
		{1, rShared, ""}, {1, rSlave, ""}, {3, rSlave, ""}, {4, rShared, ""}, {4, rSlave, ""},
		{2, rShared, `path "/x" is mounted on "/a" but it is not a shared mount`},
		{2, rSlave, `path "/x" is mounted on "/a" but it is not a shared or slave mount`},
		{3, rShared, `path "/x" is mounted on "/a/b" but it is not a shared mount`},
	} {
		got := ""
		if err := onSharedMount("/x", mounts[:tc.mounts], tc.kind); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%d mounts, %s: %q, want %q", tc.mounts, tc.kind, got, tc.want)
		}
	}
}
