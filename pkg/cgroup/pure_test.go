package cgroup

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/mountinfo"

	"github.com/carob-project/carob/pkg/pod"
)

func v1Mount(options string) *mountinfo.Info {
	return &mountinfo.Info{FSType: "cgroup", Mountpoint: "/sys/fs/cgroup/" + options, VFSOptions: "rw," + options}
}

var unified = &mountinfo.Info{FSType: "cgroup2", Mountpoint: "/sys/fs/cgroup/unified"}

func TestDetectDecides(t *testing.T) {
	for name, tc := range map[string]struct {
		mounts  []*mountinfo.Info
		systemd bool
		want    Info
	}{
		"v1": {
			mounts: []*mountinfo.Info{v1Mount("cpu,cpuacct"), v1Mount("memory"), v1Mount("xattr,name=systemd")},
			want: Info{Version: V1, Driver: Cgroupfs, Mounts: map[string]string{
				"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
				"memory": "/sys/fs/cgroup/memory", "name=systemd": "/sys/fs/cgroup/xattr,name=systemd",
			}},
		},
		"hybrid": {
			mounts: []*mountinfo.Info{v1Mount("cpu"), v1Mount("memory"), unified},
			want: Info{Version: V1, Hybrid: true, Unified: unified.Mountpoint, Driver: Cgroupfs, Mounts: map[string]string{
				"cpu": "/sys/fs/cgroup/cpu", "memory": "/sys/fs/cgroup/memory",
			}},
		},
		"v2 with systemd": {
			mounts:  []*mountinfo.Info{unified},
			systemd: true,
			want:    Info{Version: V2, Unified: unified.Mountpoint, Driver: Systemd, Mounts: map[string]string{}},
		},
		"v2 with only systemd's own v1 hierarchy": {
			mounts: []*mountinfo.Info{v1Mount("name=systemd"), unified},
			want:   Info{Version: V2, Unified: unified.Mountpoint, Driver: Cgroupfs, Mounts: map[string]string{}},
		},
	} {
		got, err := detect(tc.mounts, tc.systemd)
		if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, err := detect([]*mountinfo.Info{v1Mount("memory")}, false); !errors.Is(err, ErrNoCgroups) {
		t.Errorf("without cpu: %v", err)
	}
}

func TestNames(t *testing.T) {
	for qos, want := range map[QoS]string{
		Guaranteed: "kubepods/podu-1", Burstable: "kubepods/burstable/podu-1", BestEffort: "kubepods/besteffort/podu-1",
	} {
		got := PodName(qos, "u-1")
		if uid, ok := PodUID(got); got != want || uid != "u-1" || !ok {
			t.Errorf("%s: %s, UID %s", qos, got, uid)
		}
	}
	slice := sliceName("/carob-12", "kubepods/burstable/podu-1")
	if want := "carob_12-kubepods-burstable-podu_1.slice"; slice != want {
		t.Errorf("slice %s, want %s", slice, want)
	}
	want := "/carob_12.slice/carob_12-kubepods.slice/carob_12-kubepods-burstable.slice/" + slice
	if got := slicePath(slice); got != want {
		t.Errorf("slice path %s, want %s", got, want)
	}
	for _, name := range []string{"", "..", "a/../b", "a//b", "/a", "a b", ".hidden"} {
		if err := checkName(name); !errors.Is(err, ErrName) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, root := range []string{"", "carob", "/", "/a/b", "/.."} {
		if _, err := New(Info{}, root, nil); !errors.Is(err, ErrName) {
			t.Errorf("root %q: %v", root, err)
		}
	}
}

func TestSettings(t *testing.T) {
	r := pod.Resources{CPUShares: 1024, CPUQuota: 50_000, MemoryLimit: 1 << 20, PIDsLimit: 512, MemoryHigh: 8192, MemoryLow: 4096, MemoryMin: pod.Unlimited}
	want := map[Version][]setting{
		V1: {{"cpu", "cpu.shares", "1024"}, {"cpu", "cpu.cfs_period_us", "100000"}, {"cpu", "cpu.cfs_quota_us", "50000"}, {"memory", "memory.limit_in_bytes", "1048576"}, {"pids", "pids.max", "512"}},
		V2: {{"cpu", "cpu.weight", "39"}, {"cpu", "cpu.max", "50000 100000"}, {"memory", "memory.max", "1048576"}, {"memory", "memory.high", "8192"}, {"memory", "memory.low", "4096"}, {"memory", "memory.min", "0"}, {"pids", "pids.max", "512"}},
	}
	for v, w := range want {
		if diff := cmp.Diff(w, settings(v, r), cmp.AllowUnexported(setting{})); diff != "" {
			t.Errorf("v%d: %s", v, diff)
		}
		if got := settings(v, pod.Resources{}); len(got) != 0 {
			t.Errorf("v%d: nothing asked, %v set", v, got)
		}
	}
	for shares, w := range map[uint64]uint64{0: 1, 2: 1, 262144: 10000, 1 << 40: 10000} {
		if got := pod.CPUWeight(shares); got != w {
			t.Errorf("weight of %d shares is %d, want %d", shares, got, w)
		}
	}
	if got := quotaPerSecond(12_345, 100_000); got != 130_000 {
		t.Errorf("quota a second %d, want 130000", got)
	}
}
