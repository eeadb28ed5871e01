package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill fills a directory of a fake hierarchy.
func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func v2Files(current string) map[string]string {
	return map[string]string{
		"memory.current": current, "memory.stat": "anon 5\ninactive_file 100\n",
		"memory.events": "low 0\noom 3\noom_kill 2", "cpu.stat": "usage_usec 7\nuser_usec 3",
	}
}

// TestStatsOfTheUnifiedHierarchy for both drivers, which name groups otherwise.
func TestStatsOfTheUnifiedHierarchy(t *testing.T) {
	for _, tc := range []struct {
		driver        Driver
		pod, ofTheCtr string
	}{
		{Cgroupfs, "carob-1/pod-u", "carob-1/pod-u/0001-a-0"},
		{
			Systemd, "carob_1.slice/carob_1-pod_u.slice",
			"carob_1.slice/carob_1-pod_u.slice/carob-0001-a-0.scope",
		},
	} {
		t.Run(string(tc.driver), func(t *testing.T) {
			root := t.TempDir()
			m, err := New(Info{Version: V2, Unified: root, Driver: tc.driver}, "/carob-1", nil)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, filepath.Join(root, tc.pod), v2Files("1000"))
			fill(t, filepath.Join(root, tc.ofTheCtr), v2Files("50"))
			got, err := m.Stats("pod-u")
			want := Stats{MemoryUsage: 1000, MemoryWorkingSet: 900, CPUUsage: 7000, OOMKills: 2}
			if err != nil || got != want {
				t.Errorf("pod: %v\n%s", err, cmp.Diff(want, got))
			}
			// More inactive cache than use: the counters are read at different
			// times.
			got, err = m.ContainerStats("pod-u", "carob", "0001-a-0")
			want = Stats{MemoryUsage: 50, MemoryWorkingSet: 0, CPUUsage: 7000, OOMKills: 2}
			if err != nil || got != want {
				t.Errorf("container: %v\n%s", err, cmp.Diff(want, got))
			}
			if _, err := m.ContainerStats("pod-u", "carob", "0001-b-0"); !IsGone(err) {
				t.Errorf("a container that is gone: %v", err)
			}
			if _, err := m.ContainerStats("../u", "carob", "x"); !errors.Is(err, ErrName) {
				t.Errorf("a name outside of the root: %v", err)
			}
		})
	}
}

func TestStatsOfSeparateHierarchies(t *testing.T) {
	root := t.TempDir()
	info := Info{Version: V1, Driver: Cgroupfs, Mounts: map[string]string{
		"memory": filepath.Join(root, "memory"), "cpuacct": filepath.Join(root, "cpuacct"),
	}}
	m, err := New(info, "/carob-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(root, "memory/carob-1/pod-u/c"), map[string]string{
		"memory.usage_in_bytes": "1000", "memory.stat": "inactive_file 1\ntotal_inactive_file 400",
		"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4",
	})
	if _, err := m.ContainerStats("pod-u", "", "c"); !IsGone(err) {
		t.Errorf("without the group of the CPU: %v", err)
	}
	fill(t, filepath.Join(root, "cpuacct/carob-1/pod-u/c"), map[string]string{"cpuacct.usage": "123"})
	got, err := m.ContainerStats("pod-u", "", "c")
	want := Stats{MemoryUsage: 1000, MemoryWorkingSet: 600, CPUUsage: 123, OOMKills: 4}
	if err != nil || got != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
	// Not every kernel counts the time of the CPU by group.
	delete(info.Mounts, "cpuacct")
	if m, err = New(info, "/carob-1", nil); err != nil {
		t.Fatal(err)
	}
	want.CPUUsage = 0
	if got, err = m.ContainerStats("pod-u", "", "c"); err != nil || got != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}
