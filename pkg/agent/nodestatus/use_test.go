package nodestatus

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUse(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"stat":    "cpu  10 20 30 1000 2000 1 2 3 9 0\ncpu0 5 5 5 5 5 5 5 5 0 0\n",
		"meminfo": "MemTotal: 100 kB\nMemFree: 40 kB\nInactive(file): 10 kB\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "proc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cpu, memory, err := Machine{Root: root}.Use()
	if err != nil || cpu != 66*tick || memory != 50<<10 {
		t.Errorf("cpu %d, memory %d, %v", cpu, memory, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu 1 2 3 4 5 6 seven 8"} {
		if n, err := parseStat(bad); err == nil {
			t.Errorf("%q is read as %d", bad, n)
		}
	}
}
