package ctrd

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/pkg/pod"
)

func TestInitGoesBeforeTheCommand(t *testing.T) {
	for name, tc := range map[string]struct {
		req  pod.CreateRequest
		args []string
		at   string
	}{
		"none":   {req: pod.CreateRequest{Command: []string{"a", "b"}}, args: []string{"a", "b"}},
		"reaper": {req: pod.CreateRequest{Command: []string{"a", "b"}, Reaper: true}, args: []string{"/sbin/carob-init", "--", "a", "b"}, at: "/sbin/carob-init"},
		"holder": {req: pod.CreateRequest{Holder: true}, args: []string{"/carob-init", holdFlag}, at: "/carob-init"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := buildSpec(specInput{id: "i", req: tc.req, init: "/opt/carob-init", processes: "/proc/1/fd/3"})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.Process.Args, tc.args) {
				t.Errorf("args %q", s.Process.Args)
			}
			i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Source == "/opt/carob-init" })
			if tc.at == "" != (i < 0) || i >= 0 && (s.Mounts[i].Destination != tc.at || !slices.Contains(s.Mounts[i].Options, "ro")) {
				t.Errorf("mounts %+v", s.Mounts)
			}
			if !slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/proc/1/fd/3"}) {
				t.Errorf("namespaces %+v", s.Linux.Namespaces)
			}
		})
	}
}

func TestWithoutInitNobodyGetsOne(t *testing.T) {
	r := &Runtime{opts: Options{InitPath: t.TempDir() + "/none"}}
	if err := r.checkInit(pod.CreateRequest{}); err != nil {
		t.Error(err)
	}
	for _, req := range []pod.CreateRequest{{Holder: true}, {Reaper: true}} {
		if err := r.checkInit(req); !errors.Is(err, pod.ErrConfig) {
			t.Error(err)
		}
	}
}
