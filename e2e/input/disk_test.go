package input

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path) //nolint:gosec // a directory of the test
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<20); err == nil; {
		n, werr := f.Write(block)
		if err = werr; errors.Is(err, syscall.ENOSPC) && n == 0 && len(block) > 1 {
			block, err = block[:len(block)/2], nil
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
	_ = f.Close() // it is to be full
}

// smallDisk mounts a file system of its own and removes it after the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "carob-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=400m,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	c := harness.New(t)
	c.DataDir = dir
	// Without thresholds nobody is evicted: this is about the moment before.
	c.Args = append(c.Args, "--eviction-hard", "memory.available=0%")
	c.Up(t)
	c.Import(t)
	c.Apply(t, onePod("before", harness.Image, ""))
	c.WaitReady(t, "before")
	pid, uid := c.PID(), c.Get(t, "pod", "before", "{.metadata.uid}")

	ballast := filepath.Join(c.DataDir, "ballast")
	fill(t, ballast)
	c.Apply(t, onePod("full", harness.Image, ""))
	harness.Eventually(t, 40*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name=full")
		if !strings.Contains(out, "no space left on device") {
			return "got " + out
		}
		return ""
	})
	if got := c.Get(t, "pod", "full", "{.status.phase}"); got != "Pending" {
		t.Errorf("phase %s", got)
	}
	if c.PID() != pid || syscall.Kill(pid, 0) != nil {
		t.Fatal("carob has ended")
	}
	if got := c.Get(t, "pod", "before", "{.metadata.uid} {.status.containerStatuses[0].restartCount}"); got != uid+" 0" {
		t.Errorf("the pod from before: %s", got)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	c.WaitReady(t, "full")
	c.WaitReady(t, "before")
	c.K(t, "delete", "pod", "--all", "--timeout=60s")
}
