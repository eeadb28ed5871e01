package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/carob-project/carob/pkg/pod"
)

func TestResizePod(t *testing.T) {
	m := newManager(t)
	name := PodName(Burstable, "r")
	if err := m.ResizePod(t.Context(), name, pod.Resources{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a group that is not there: %v", err)
	}
	small := pod.Resources{CPUShares: 128, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}
	if err := m.EnsurePod(t.Context(), name, small); err != nil {
		t.Fatal(err)
	}
	for _, want := range []pod.Resources{
		{CPUShares: 512, CPUQuota: 150_000, CPUPeriod: 100_000, MemoryLimit: 128 << 20},
		{CPUShares: 512, CPUQuota: pod.Unlimited, CPUPeriod: 100_000, MemoryLimit: pod.Unlimited},
		small,
	} {
		if err := m.ResizePod(t.Context(), name, want); err != nil {
			t.Fatal(err)
		}
		got, err := m.PodLimits(name)
		if err != nil || !pod.SameLimits(got, want) {
			t.Errorf("limits %+v, %v, want %+v", got, err, want)
		}
	}
}

// The files of v2, in a tree without a kernel behind it.
func TestLimitsV2(t *testing.T) {
	root := t.TempDir()
	m := &Manager{info: Info{Version: V2, Unified: root, Driver: Cgroupfs}, root: "/c"}
	name := PodName(Guaranteed, "g")
	dir := m.dir(root, name)
	if err := os.MkdirAll(filepath.Join(dir, "id"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "id")} {
		for file, text := range map[string]string{"cpu.weight": "100\n", "cpu.max": "max 100000\n", "memory.max": "max\n"} {
			if err := os.WriteFile(filepath.Join(d, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := pod.Resources{CPUShares: sharesOf(100), CPUQuota: pod.Unlimited, CPUPeriod: 100_000, MemoryLimit: pod.Unlimited}
	if got, err := m.PodLimits(name); err != nil || !cmp.Equal(got, want) {
		t.Errorf("pod: %+v, %v", got, err)
	}
	for _, s := range settings(V2, pod.Resources{CPUQuota: 20_000, CPUPeriod: 100_000, MemoryLimit: 1 << 20}) {
		if err := write(filepath.Join(dir, "id"), s.file, s.value+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	want = pod.Resources{CPUQuota: 20_000, CPUPeriod: 100_000, MemoryLimit: 1 << 20}
	if got, err := m.ContainerLimits(name, "carob", "id"); err != nil || !cmp.Equal(got, want) {
		t.Errorf("container: %+v, %v", got, err)
	}
	lifted := []setting{
		{"cpu", "cpu.max", "max 100000"}, {"memory", "memory.max", "max"},
		{"memory", "memory.high", "max"}, {"memory", "memory.low", "0"}, {"memory", "memory.min", "0"},
	}
	if diff := cmp.Diff(lifted, settings(V2, pod.Lifted(pod.Resources{})), cmp.AllowUnexported(setting{})); diff != "" {
		t.Error(diff)
	}
	for w := uint64(1); w <= 10000; w++ {
		if got := pod.CPUWeight(sharesOf(w)); got != w {
			t.Fatalf("weight %d becomes %d", w, got)
		}
	}
}
