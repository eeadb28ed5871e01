package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

// The levels above pods cover what their pods protect, in a tree without a
// kernel behind it.
func TestReserveMemory(t *testing.T) {
	root := t.TempDir()
	m := &Manager{info: Info{Version: V2, Unified: root, Driver: Cgroupfs}, root: "/c", log: zap.NewNop()}
	groups := map[string][2]string{
		"": {"0", "0"}, "kubepods": {"0", "0"}, "kubepods/burstable": {"0", "0"}, "kubepods/besteffort": {"0", "0"},
		PodName(Guaranteed, "a"): {"1000", "0"}, PodName(Guaranteed, "b"): {"2000", "0"},
		PodName(Burstable, "c"): {"0", "30"}, PodName(Burstable, "d"): {"0", "4"}, PodName(BestEffort, "e"): {"0", "0"},
	}
	for name, values := range groups {
		dir := m.dir(root, name)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for i, file := range []string{"memory.min", "memory.low"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(values[i]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(want map[string][2]string) {
		t.Helper()
		for name, values := range want {
			for i, file := range []string{"memory.min", "memory.low"} {
				if got, err := read(m.dir(root, name), file); got != values[i] || err != nil {
					t.Errorf("%s of %q: %s %v, want %s", file, name, got, err, values[i])
				}
			}
		}
	}
	m.ReserveMemory(t.Context(), true)
	expect(map[string][2]string{"": {"3034", "34"}, "kubepods": {"3034", "34"}, "kubepods/burstable": {"0", "34"}, "kubepods/besteffort": {"0", "0"}})
	if err := os.RemoveAll(m.dir(root, PodName(Guaranteed, "a"))); err != nil {
		t.Fatal(err)
	}
	m.balance(t.Context())
	expect(map[string][2]string{"": {"2034", "34"}, "kubepods": {"2034", "34"}, "kubepods/burstable": {"0", "34"}})
	// Files that are no kernel's keep what is behind a shorter value.
	for _, name := range []string{"", "kubepods", "kubepods/burstable"} {
		for _, file := range []string{"memory.min", "memory.low"} {
			if err := os.WriteFile(filepath.Join(m.dir(root, name), file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.ReserveMemory(t.Context(), false)
	expect(map[string][2]string{"": {"0", "0"}, "kubepods": {"0", "0"}, "kubepods/burstable": {"0", "0"}})
}
