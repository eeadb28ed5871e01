package ctrd

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestOwnUsersAreFoundOut(t *testing.T) {
	if err := KernelMapsIDs(); err != nil {
		t.Fatalf("this test needs Linux 6.3: %v", err)
	}
	if err := DirMapsIDs("/proc/self/not/there"); !errors.Is(err, errNoMapping) {
		t.Errorf("proc: %v", err)
	}
	if err := DirMapsIDs("/dev/shm/not/there"); err != nil {
		t.Errorf("memory: %v", err)
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	none := filepath.Join(dir, "no.sock")
	if err := RuntimeMapsIDs(t.Context(), none); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no runtime: %v", err)
	}
	for answer, can := range map[string]bool{
		`{"linux":{"namespaces":["user"],"mountExtensions":{"idmap":{"enabled":true}}}}`:  true,
		`{"linux":{"namespaces":["user"],"mountExtensions":{"idmap":{"enabled":false}}}}`: false,
		`{}`:          false,
		`no features`: false,
	} {
		script := "#!/bin/sh\nprintf '%s\\n' '" + answer + "'\n"
		if err := os.WriteFile(filepath.Join(dir, "runc"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := RuntimeMapsIDs(t.Context(), none); (err == nil) != can {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
