package folder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// summary is what a snapshot says: files with the names of their objects, or
// what is wrong.
func summary(s Snapshot) string {
	var all []string
	if s.Problem != nil {
		return s.Problem.Message
	}
	for _, f := range s.Files {
		text := f.Path + ":"
		for _, d := range f.Documents {
			text += d.Name
		}
		for _, p := range f.Problems {
			text += "(" + p.Message + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	d, err := newDisk(t.Context(), dir, zap.NewNop())
	must(t, err)
	expect := func(want string) {
		t.Helper()
		for {
			got := summary(d.Read())
			if got == want {
				return
			}
			select {
			case <-d.Changed():
			case <-time.After(10 * time.Second):
				t.Fatalf("it says %q, want %q", got, want)
			}
		}
	}
	write := func(name, object string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n", object), 0o600))
	}
	expect("no such file or directory")
	must(t, os.MkdirAll(dir, 0o750))
	expect("")
	write("a.yaml", "x")
	expect("a.yaml:x")
	for _, name := range []string{".a.yaml.swp", ".#a.yaml", "a.yaml~", "#a.yaml#", "4913", "README.md", ".hidden.yaml"} {
		write(name, "no")
	}
	must(t, os.MkdirAll(filepath.Join(dir, "sub/deep"), 0o750))
	write("sub/deep/b.yml", "u")
	expect("a.yaml:x sub/deep/b.yml:u")

	// A file that is being written is as it was, until it is closed.
	f, err := os.OpenFile(filepath.Join(dir, "a.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	_, err = f.WriteString("apiVersion: v1\nkind: ConfigMap\nmeta")
	must(t, err)
	write("c.json", "z")
	expect("a.yaml:x c.json:z sub/deep/b.yml:u")
	_, err = f.WriteString("data: {name: w}\n")
	must(t, err)
	must(t, f.Close())
	expect("a.yaml:w c.json:z sub/deep/b.yml:u")
	must(t, os.RemoveAll(filepath.Join(dir, "sub")))
	must(t, os.Remove(filepath.Join(dir, "c.json")))

	// Links as a mounted ConfigMap has them, and to a file elsewhere.
	for _, v := range []string{"1", "2"} {
		must(t, os.Mkdir(filepath.Join(dir, "..v"+v), 0o750))
		write("..v"+v+"/m.yaml", "v"+v)
	}
	must(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
	must(t, os.Symlink("..data/m.yaml", filepath.Join(dir, "m.yaml")))
	expect("a.yaml:w m.yaml:v1")
	must(t, os.Symlink("..v2", filepath.Join(dir, "..tmp")))
	must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	expect("a.yaml:w m.yaml:v2")
	elsewhere := filepath.Join(t.TempDir(), "far.yaml")
	must(t, os.WriteFile(elsewhere, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: far}\n"), 0o600))
	must(t, os.Symlink(elsewhere, filepath.Join(dir, "far.yaml")))
	expect("a.yaml:w far.yaml:far m.yaml:v2")
	must(t, os.WriteFile(elsewhere, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: near}\n"), 0o600))
	expect("a.yaml:w far.yaml:near m.yaml:v2")

	// What is no file is told of, and keeps nobody waiting.
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600))
	must(t, os.Remove(elsewhere))
	expect("a.yaml:w far.yaml:(no such file or directory) m.yaml:v2 pipe.yaml:(is not a file)")
	must(t, os.Remove(filepath.Join(dir, "far.yaml")))
	must(t, os.Remove(filepath.Join(dir, "pipe.yaml")))
	must(t, os.WriteFile(filepath.Join(dir, "big.yaml"), nil, 0o600))
	must(t, os.Truncate(filepath.Join(dir, "big.yaml"), maxFile+1))
	expect("a.yaml:w big.yaml:(is larger than 16 MiB) m.yaml:v2")

	// The folder itself may be a link that is moved to another.
	must(t, os.Rename(dir, dir+"-1"))
	expect("no such file or directory")
	must(t, os.Mkdir(dir+"-2", 0o750))
	must(t, os.Symlink(dir+"-1", dir))
	expect("a.yaml:w big.yaml:(is larger than 16 MiB) m.yaml:v2")
	must(t, os.Symlink(dir+"-2", dir+"-new"))
	must(t, os.Rename(dir+"-new", dir))
	expect("")
	// Reading is no change: in the end nothing is read again.
	for range 20 {
		select {
		case <-d.Changed():
			d.Read()
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
	t.Error("there is always another change")
}
