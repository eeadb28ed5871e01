package ctrd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/pod"
)

func TestCapabilities(t *testing.T) {
	defaults := []string{"CAP_CHOWN", "CAP_KILL"}
	available := []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}
	for name, tc := range map[string]struct {
		sec  pod.Security
		want []string
	}{
		"defaults":      {pod.Security{}, defaults},
		"one more":      {pod.Security{AddCapabilities: []string{"SYS_ADMIN", "KILL"}}, []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}},
		"one less":      {pod.Security{DropCapabilities: []string{"KILL"}}, []string{"CAP_CHOWN"}},
		"none":          {pod.Security{DropCapabilities: []string{"ALL"}}, nil},
		"only one":      {pod.Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"KILL"}}, []string{"CAP_KILL"}},
		"all":           {pod.Security{AddCapabilities: []string{"ALL"}}, available},
		"all but one":   {pod.Security{AddCapabilities: []string{"ALL"}, DropCapabilities: []string{"CHOWN"}}, available[1:]},
		"privileged":    {pod.Security{Privileged: true, DropCapabilities: []string{"ALL"}}, available},
		"not available": {pod.Security{AddCapabilities: []string{"SYS_RESOURCE"}}, []string{"error"}},
	} {
		got, err := capabilities(defaults, &tc.sec, available)
		if err != nil {
			if !errors.Is(err, pod.ErrConfig) {
				t.Error(err)
			}
			got = []string{"error"}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	if !slices.Equal(available, []string{"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}) {
		t.Error("the lists given were changed")
	}
}

func TestUserName(t *testing.T) {
	id := ptr.To[int64]
	for _, tc := range []struct {
		image string
		sec   pod.Security
		want  string
	}{
		{"", pod.Security{}, "0"}, {"web:www", pod.Security{}, "web:www"},
		{"web:www", pod.Security{RunAsUser: id(5)}, "5"},
		{"web:www", pod.Security{RunAsGroup: id(6)}, "web:6"},
		{"", pod.Security{RunAsUser: id(5), RunAsGroup: id(6)}, "5:6"},
	} {
		if got := userName(tc.image, &tc.sec); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.image, got, tc.want)
		}
	}
}

func TestWithGroups(t *testing.T) {
	user := specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{2, 3}}
	for _, tc := range []struct {
		sec  pod.Security
		want []uint32
	}{
		{pod.Security{}, []uint32{2, 3}},
		{pod.Security{SupplementalGroups: []int64{3, 4}}, []uint32{2, 3, 4}},
		{pod.Security{SupplementalGroups: []int64{4}, StrictGroups: true}, []uint32{2, 4}},
	} {
		if d := cmp.Diff(tc.want, withGroups(user, &tc.sec).AdditionalGids); d != "" {
			t.Error(d)
		}
	}
}

func TestSpecOfAPrivilegedContainer(t *testing.T) {
	in := specInput{
		id: "c", host: host{seccomp: true, capabilities: []string{"CAP_SYS_ADMIN"}},
		req: pod.CreateRequest{Command: []string{"x"}, Security: pod.Security{Privileged: true, Unconfined: true, ReadOnlyRoot: true}},
	}
	s, err := buildSpec(in)
	if err != nil {
		t.Fatal(err)
	}
	if s.Linux.Seccomp != nil || len(s.Linux.MaskedPaths)+len(s.Linux.ReadonlyPaths) > 0 || !s.Root.Readonly || len(s.Linux.Devices) < 5 {
		t.Errorf("%+v", s.Linux)
	}
	if d := s.Linux.Resources.Devices; len(d) != 1 || !d[0].Allow {
		t.Errorf("devices %+v", d)
	}
	for _, m := range s.Mounts {
		if (m.Type == "sysfs" || m.Type == "cgroup") && (slices.Contains(m.Options, "ro") || !slices.Contains(m.Options, "rw")) {
			t.Errorf("%+v", m)
		}
	}
}

func TestLocalProfile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"good": `{"defaultAction":"SCMP_ACT_ALLOW"}`, "empty": "{}", "broken": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, "in", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "in"), filepath.Join(dir, "in", "out")); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(dir, "in")
	if p, err := localProfile(inner, "good"); err != nil || p.DefaultAction != specs.ActAllow {
		t.Errorf("%+v %v", p, err)
	}
	for _, name := range []string{"empty", "broken", "none", "out/good", "../in/good"} {
		if _, err := localProfile(inner, name); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecodeProfile(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := decodeProfile(data); err == nil && p.DefaultAction == "" {
			t.Error("a profile without a default action")
		}
	})
}
