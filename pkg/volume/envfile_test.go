package volume

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

func TestEnvFile(t *testing.T) {
	m, err := New(Options{PodsDir: t.TempDir(), MemoryDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.opts.PodsDir, "uid", "volumes", "v")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	for path, text := range map[string]string{
		filepath.Join(dir, "sub", "env"): "inside", outside: "outside", filepath.Join(dir, "big"): strings.Repeat("x", maxEnvFile+1),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"here": "/sub/env", "away": outside, "up": "../../../../../.." + outside} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"sub/env": "inside", "here": "inside", "away": "", "up": "", "sub": "", "pipe": "", "none": "", "big": "",
	} {
		f := m.EnvFile("uid", pod.FileRef{Volume: "v", Path: path})
		if (f.Err == nil) != (want != "") || f.Err == nil && f.Text != want || f.Path != filepath.Join(dir, path) {
			t.Errorf("%s: %+v, want %q", path, f, want)
		}
	}
	if f := m.EnvFile("uid", pod.FileRef{Volume: "..", Path: "x"}); f.Err == nil {
		t.Errorf("a volume that is none: %+v", f)
	}
}
