package ctrd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"go.uber.org/zap/zaptest"

	"github.com/carob-project/carob/pkg/pod"
)

func TestWhichRuntimesMapIDs(t *testing.T) {
	yes, no := true, false
	with := func(enabled *bool, namespaces ...string) features.Features {
		return features.Features{Linux: &features.Linux{
			Namespaces: namespaces, MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: enabled}},
		}}
	}
	for name, tc := range map[string]struct {
		f    features.Features
		want bool
	}{
		"silent":             {features.Features{}, false},
		"old":                {features.Features{Linux: &features.Linux{Namespaces: []string{"user"}}}, false},
		"no mapping at all":  {features.Features{Linux: &features.Linux{Namespaces: []string{"user"}, MountExtensions: &features.MountExtensions{}}}, false},
		"mapping unknown":    {with(nil, "user"), false},
		"no mapping":         {with(&no, "user"), false},
		"no user namespaces": {with(&yes, "net"), false},
		"new":                {with(&yes, "net", "user"), true},
	} {
		if got := mapsIDs(tc.f); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestSpecOfOwnUsers(t *testing.T) {
	in := specInput{id: "c", host: host{seccomp: true}, init: "/opt/init", req: pod.CreateRequest{
		Command: []string{"x"}, Reaper: true, Security: pod.Security{UnmaskedProc: true},
		Sandbox: pod.Sandbox{Namespaces: pod.Namespaces{User: "/u"}, Users: pod.IDRange{First: 131072, Size: 65536}},
		Mounts:  []pod.Mount{{HostPath: "/h1", ContainerPath: "/one"}, {HostPath: "/h2", ContainerPath: "/two", Mapped: true}},
	}}
	s, err := buildSpec(in)
	if err != nil {
		t.Fatal(err)
	}
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 131072, Size: 65536}}
	if diff := cmp.Diff([][]specs.LinuxIDMapping{ids, ids}, [][]specs.LinuxIDMapping{s.Linux.UIDMappings, s.Linux.GIDMappings}); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/u"}) {
		t.Errorf("namespaces %+v", s.Linux.Namespaces)
	}
	if len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths) > 0 {
		t.Errorf("masked: %v %v", s.Linux.MaskedPaths, s.Linux.ReadonlyPaths)
	}
	mapped := map[string]bool{}
	for _, m := range s.Mounts {
		if m.Type == "bind" {
			mapped[m.Source] = len(m.UIDMappings) == 1 && len(m.GIDMappings) == 1
		}
	}
	if diff := cmp.Diff(map[string]bool{"/h1": true, "/h2": false, "/opt/init": false, "/dev/shm": false}, mapped); diff != "" {
		t.Error(diff)
	}
	in.req.Sandbox, in.req.Security = pod.Sandbox{}, pod.Security{}
	if s, err = buildSpec(in); err != nil || s.Linux.UIDMappings != nil || len(s.Linux.MaskedPaths) == 0 {
		t.Errorf("with the node's users: %+v %v", s.Linux, err)
	}
	for _, m := range s.Mounts {
		if m.UIDMappings != nil {
			t.Errorf("with the node's users: %+v", m)
		}
	}
}

func TestWhatCanBeMapped(t *testing.T) {
	users, err := mount.GetUsernsFD("0:65536:65536", "0:65536:65536")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = users.Close() }()
	dir := t.TempDir()
	if err := mappable(dir, users); err != nil {
		t.Error(err)
	}
	if err := mappable("/proc", users); !errors.Is(err, pod.ErrConfig) || !strings.Contains(err.Error(), "cannot mount /proc: its file system (proc)") {
		t.Errorf("/proc: %v", err)
	}
	if err := mappable(filepath.Join(dir, "none"), users); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	var k kernelProbe
	for range 2 {
		if !k.mapsIDs(zaptest.NewLogger(t)) {
			t.Error("this kernel cannot do what it just did")
		}
	}
}

func TestTraversable(t *testing.T) {
	dir, err := os.MkdirTemp("", "ctrd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o711); err != nil { //nolint:gosec // what is tested
		t.Fatal(err)
	}
	if err := traversable(in); err == nil || !strings.Contains(err.Error(), "cannot get through "+dir+",") {
		t.Errorf("a closed directory: %v", err)
	}
	if err := os.Chmod(dir, 0o701); err != nil { //nolint:gosec // what is tested
		t.Fatal(err)
	}
	if err := errors.Join(traversable(in), traversable("")); err != nil {
		t.Error(err)
	}
}

// Programs are looked for where the process behind the socket would.
func TestSearchPathOfTheListener(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	environ, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		t.Fatal(err)
	}
	_, want, found := strings.Cut("\x00"+string(environ), "\x00PATH=")
	if want, _, _ = strings.Cut(want, "\x00"); !found {
		t.Fatal("the test has no PATH")
	}
	t.Setenv("PATH", dir)
	if got, err := listenersPath(t.Context(), socket); err != nil || got != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	program := filepath.Join(dir, "prog")
	if err := os.WriteFile(program, nil, 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	var s searchPath
	if got, err := s.find(t.Context(), filepath.Join(dir, "nobody"), "prog"); err != nil || got != program {
		t.Errorf("without a listener: %q %v", got, err)
	}
	if got, err := s.find(t.Context(), socket, "prog"); err == nil {
		t.Errorf("the listener does not look where %q is", got)
	}
	if got, err := s.find(t.Context(), socket, "/bin/x"); err != nil || got != "/bin/x" {
		t.Errorf("%q %v", got, err)
	}
}
