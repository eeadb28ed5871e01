package selinux

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// labelOf reads the label of a file itself. A kernel without SELinux keeps what
// root writes.
func labelOf(t *testing.T, path string) string {
	t.Helper()
	buf := make([]byte, 200)
	n, err := unix.Lgetxattr(path, attribute, buf)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(buf[:n])
}

func TestRelabel(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "v/a/b"), 0o700))
	must(os.MkdirAll(filepath.Join(dir, "v/mounted"), 0o700))
	must(os.WriteFile(outside, nil, 0o600))
	must(os.WriteFile(filepath.Join(dir, "v/a/f"), nil, 0))
	must(os.Symlink(outside, filepath.Join(dir, "v/a/link")))
	must(os.Symlink("v", filepath.Join(dir, "to")))
	must(unix.Mkfifo(filepath.Join(dir, "v/a/b/fifo"), 0o600))
	must(unix.Mount("t", filepath.Join(dir, "v/mounted"), "tmpfs", 0, ""))
	t.Cleanup(func() { must(unix.Unmount(filepath.Join(dir, "v/mounted"), 0)) })

	l := Label{"u", "r", "t", "s0:c1,c2"}
	must(Relabel(t.Context(), filepath.Join(dir, "to"), l))
	for name, want := range map[string]string{
		"v": l.String(), "v/a": l.String(), "v/a/b": l.String(), "v/a/f": l.String(), "v/a/link": l.String(), "v/a/b/fifo": l.String(),
		"v/mounted": "", "to": "",
	} {
		if got := strings.TrimRight(labelOf(t, filepath.Join(dir, name)), "\x00"); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := labelOf(t, outside); got != "" {
		t.Errorf("a link was followed: %q", got)
	}
	l.Level = "s0"
	must(Relabel(t.Context(), filepath.Join(dir, "v/a/f"), l))
	if got := labelOf(t, filepath.Join(dir, "v/a/f")); got != l.String()+"\x00" {
		t.Errorf("a file alone: %q", got)
	}
	if err := Relabel(t.Context(), filepath.Join(dir, "none"), l); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Relabel(ended, dir, l); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
}

func TestRelabelWithoutLabels(t *testing.T) {
	if err := Relabel(t.Context(), "/proc/self/status", Label{"u", "r", "t", "s0"}); err != nil {
		t.Errorf("a file system that keeps none: %v", err)
	}
}

// TestWalkOrder: a directory that has the label says that all in it has.
func TestWalkOrder(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	var seen []string
	if err := walk(t.Context(), dir, func(fd int) error {
		path, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd)))
		seen = append(seen, strings.TrimPrefix(path, dir))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "/a/b /a " {
		t.Errorf("%q", got)
	}
}

func TestDeepDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", maxDepth+1)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := walk(t.Context(), dir, func(int) error { return nil }); err == nil {
		t.Error("it goes down for ever")
	}
}
