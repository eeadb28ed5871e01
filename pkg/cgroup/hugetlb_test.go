package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carob-project/carob/pkg/pod"
)

func TestHugePageSettings(t *testing.T) {
	allowed := map[int64]int64{2 << 20: 4 << 20, 64 << 10: 64 << 10}
	want := map[Version][]setting{
		V1: {
			{hugetlb, "hugetlb.1GB.rsvd.limit_in_bytes", "0"}, {hugetlb, "hugetlb.1GB.limit_in_bytes", "0"},
			{hugetlb, "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"}, {hugetlb, "hugetlb.2MB.limit_in_bytes", "4194304"},
		},
		V2: {
			{hugetlb, "hugetlb.1GB.rsvd.max", "0"}, {hugetlb, "hugetlb.1GB.max", "0"},
			{hugetlb, "hugetlb.2MB.rsvd.max", "4194304"}, {hugetlb, "hugetlb.2MB.max", "4194304"},
		},
	}
	for v, w := range want {
		if diff := cmp.Diff(w, hugePageSettings(v, []string{"1GB", "2MB"}, allowed), cmp.AllowUnexported(setting{})); diff != "" {
			t.Errorf("v%d: %s", v, diff)
		}
	}
}

// Where the controller is, for each way hierarchies can be mounted, and what is
// written there into files as the kernel has them.
func TestLimitHugePages(t *testing.T) {
	files := func(dir string, names ...string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for title, c := range map[string]struct {
		info        func(dir string) Info
		file, older string
	}{
		"v1": {func(dir string) Info {
			return Info{Version: V1, Mounts: map[string]string{hugetlb: dir}, Driver: Cgroupfs}
		}, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"},
		"v2": {func(dir string) Info { return Info{Version: V2, Unified: dir, Driver: Cgroupfs} }, "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"},
		"hybrid": {func(dir string) Info {
			return Info{Version: V1, Hybrid: true, Unified: dir, Mounts: map[string]string{"cpu": "/x"}, Driver: Cgroupfs}
		}, "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"},
	} {
		root := t.TempDir()
		name := PodName(Guaranteed, "u")
		files(filepath.Join(root, "carob", name), c.file)
		for _, dir := range []string{root, filepath.Join(root, "carob"), filepath.Join(root, "carob/kubepods")} {
			files(dir, "cgroup.subtree_control", "cgroup.controllers")
		}
		info := c.info(root)
		if title != "v1" && info.LimitsHugePages() {
			t.Errorf("%s: limits without a controller", title)
		}
		if err := os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu hugetlb\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if !info.LimitsHugePages() {
			t.Errorf("%s: no limits", title)
		}
		m, err := New(info, "/carob", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.limitHugePages(name, pod.Resources{HugePages: map[int64]int64{2 << 20: 6 << 20}}); err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		dir := filepath.Join(root, "carob", name)
		if got, err := read(dir, c.file); got != "6291456" || err != nil {
			t.Errorf("%s: %q, %v", title, got, err)
		}
		if _, err := os.Stat(filepath.Join(dir, c.older)); err == nil {
			t.Errorf("%s: made a file that the kernel does not have", title)
		}
		if on, err := read(filepath.Join(root, "carob"), "cgroup.subtree_control"); err != nil || (on == "+hugetlb") != (title == "hybrid") {
			t.Errorf("%s: handed down %q, %v", title, on, err)
		}
	}
	if (Info{Version: V1, Mounts: map[string]string{"cpu": "/x"}}).LimitsHugePages() {
		t.Error("limits without a hierarchy")
	}
}
