package ctrd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/selinux"
)

var policy = &selinux.Contexts{
	Process:  selinux.Label{User: "u", Role: "r", Type: "box_t", Level: "s0"},
	File:     selinux.Label{User: "u", Role: "o", Type: "file_t", Level: "s0"},
	ReadOnly: selinux.Label{User: "u", Role: "o", Type: "ro_t", Level: "s0"},
}

func TestLabelsFor(t *testing.T) {
	for name, tc := range map[string]struct {
		policy         *selinux.Contexts
		sec            pod.Security
		process, files string
	}{
		"no SELinux": {sec: pod.Security{SELinux: corev1.SELinuxOptions{Type: "t", Level: "odd"}}},
		"nothing":    {policy, pod.Security{}, "u:r:box_t:s0:c1,c2", "u:o:file_t:s0:c1,c2"},
		"some":       {policy, pod.Security{SELinux: corev1.SELinuxOptions{Type: "t", Level: "s0:c3"}}, "u:r:t:s0:c3", "u:o:file_t:s0:c3"},
		"all":        {policy, pod.Security{SELinux: corev1.SELinuxOptions{User: "v", Role: "q", Type: "t", Level: "s0"}}, "v:q:t:s0", "v:o:file_t:s0"},
		"privileged": {policy, pod.Security{Privileged: true, SELinux: corev1.SELinuxOptions{Type: "t"}}, "", "u:o:file_t:s0:c1,c2"},
	} {
		l, err := labelsFor(tc.policy, &tc.sec, "s0:c1,c2")
		if err != nil || l.process.String() != tc.process || l.files.String() != tc.files {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
		s, err := buildSpec(specInput{id: "c", labels: l, req: pod.CreateRequest{Command: []string{"x"}, Security: pod.Security{Unconfined: true}}})
		if err != nil {
			t.Fatal(err)
		}
		command := commandProcess(s.Process, pod.ExecRequest{Command: []string{"y"}})
		if s.Linux.MountLabel != tc.files || s.Process.SelinuxLabel != tc.process || command.SelinuxLabel != tc.process {
			t.Errorf("%s: files %q, process %q, a command's %q", name, s.Linux.MountLabel, s.Process.SelinuxLabel, command.SelinuxLabel)
		}
	}
	_, err := labelsFor(policy, &pod.Security{SELinux: corev1.SELinuxOptions{Level: "odd"}}, "s0")
	if !errors.Is(err, selinux.ErrInvalid) {
		t.Errorf("a level that is none: %v", err)
	}
}

// fileLabel reads a file's label: a kernel without SELinux keeps what root writes.
func fileLabel(t *testing.T, path string) string {
	t.Helper()
	buf := make([]byte, 200)
	n, err := unix.Lgetxattr(path, "security.selinux", buf)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(buf[:n]), "\x00")
}

func TestRelabelOfMounts(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"shm", "own", "node"} {
		if err := os.Mkdir(path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	req := &pod.CreateRequest{
		Sandbox: pod.Sandbox{ShmPath: path("shm")},
		Mounts:  []pod.Mount{{HostPath: path("own"), Relabel: true}, {HostPath: path("node")}},
	}
	if err := relabel(t.Context(), req, selinux.Label{}); err != nil || fileLabel(t, path("own")) != "" {
		t.Errorf("no label: %v", err)
	}
	if err := relabel(t.Context(), req, policy.File); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"shm": policy.File.String(), "own": policy.File.String(), "node": ""} {
		if got := fileLabel(t, path(name)); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	req.Mounts[0].HostPath = path("gone")
	if err := relabel(t.Context(), req, policy.File); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a volume that is not there: %v", err)
	}
}

func TestLabelledMounts(t *testing.T) {
	dir := t.TempDir()
	mounts := []mount.Mount{
		{Type: "overlay", Options: []string{"lowerdir=/l"}}, {Type: "tmpfs"}, {Type: "bind", Source: dir, Options: []string{"rbind", "rw"}},
	}
	same, err := labelled(t.Context(), mounts, selinux.Label{})
	if d := cmp.Diff(mounts, same); d != "" || err != nil {
		t.Errorf("no label: %v %s", err, d)
	}
	got, err := labelled(t.Context(), mounts, policy.File)
	const option = `context="u:o:file_t:s0"`
	want := []mount.Mount{
		{Type: "overlay", Options: []string{"lowerdir=/l", option}}, {Type: "tmpfs", Options: []string{option}}, mounts[2],
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if len(mounts[0].Options) != 1 || fileLabel(t, dir) != policy.File.String() {
		t.Errorf("%+v, the directory has %q", mounts, fileLabel(t, dir))
	}
}
