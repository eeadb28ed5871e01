package check

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

// good is a machine that can run carob.
func good() Facts {
	return Facts{
		Kernel: "6.1.0", Features: []Feature{{"seccomp", true, "boot another"}}, CgroupVersion: 2, CgroupDriver: "cgroupfs",
		Address: "/run/c.sock", SystemContainerd: "1.6.20", ContainerdBinary: "containerd 1.6.20", Shim: "shim", Runc: "runc 1.1.5",
		Plugins: []Plugin{{"bridge", "/usr/lib/cni"}}, BinDirs: []string{"/usr/lib/cni"}, Listen: "127.0.0.1:6443",
		Dirs: []Dir{{Path: "/var/lib/carob", FreeBytes: 10 << 30}}, SysResource: true, IPForward: true,
	}
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Facts)
		level  Level
		detail string
	}{
		"good":                    {func(*Facts) {}, OK, ""},
		"not root":                {func(f *Facts) { f.UID = 1000 }, Fail, "uid 1000"},
		"kernel feature":          {func(f *Facts) { f.Features[0].Present = false }, Fail, "missing"},
		"no cgroups":              {func(f *Facts) { f.CgroupVersion = 0 }, Fail, "no cgroup"},
		"controller":              {func(f *Facts) { f.CgroupMissing = []string{"pids"} }, Fail, "pids"},
		"no capability":           {func(f *Facts) { f.SysResource = false }, Warn, "oom_score_adj"},
		"private containerd":      {func(f *Facts) { f.SystemContainerd, f.ContainerdError = "", "refused" }, OK, ""},
		"named containerd away":   {func(f *Facts) { f.SystemContainerd, f.ContainerdError, f.AddressGiven = "", "refused", true }, Fail, "refused"},
		"no containerd":           {func(f *Facts) { f.SystemContainerd, f.ContainerdBinary = "", "" }, Fail, "none on PATH"},
		"no runc":                 {func(f *Facts) { f.Runc = "" }, Fail, "not on PATH"},
		"no plugin":               {func(f *Facts) { f.Plugins[0].Dir = "" }, Fail, "bridge"},
		"bad CNI file":            {func(f *Facts) { f.CNIError = "10-x.conflist: line 3" }, Fail, "line 3"},
		"address taken":           {func(f *Facts) { f.ListenError = "in use" }, Fail, "in use"},
		"address taken by itself": {func(f *Facts) { f.ListenError, f.Running = "in use", 7 }, OK, ""},
		"kernel without users":    {func(f *Facts) { f.Users.Kernel, f.Users.Runtime = "too old", "too old as well" }, Note, "the kernel: too old"},
		"runtime without users":   {func(f *Facts) { f.Users.Runtime = "runc: no features" }, Note, "runc: no features"},
		"volumes without users":   {func(f *Facts) { f.Users.Data = "/var/lib/carob is on nfs" }, Note, "nfs"},
		"images without users":    {func(f *Facts) { f.Users.Images, f.SystemContainerd = "/x is on zfs", "2.4.2" }, Note, "zfs"},
		"images without users, private containerd": {func(f *Facts) {
			f.Users.Images, f.SystemContainerd, f.ContainerdBinary = "/x is on zfs", "", "containerd github.com/containerd/containerd/v2 v2.4.2 abc (/usr/bin/containerd)"
		}, Note, "zfs"},
		"images that are copied": {func(f *Facts) { f.Users.Images = "/x is on zfs" }, OK, ""},
		"images that are copied, private containerd": {func(f *Facts) {
			f.Users.Images, f.SystemContainerd, f.ContainerdBinary = "/x is on zfs", "", "containerd github.com/containerd/containerd 1.6.20~ds1 (/usr/bin/containerd)"
		}, OK, ""},
		"directory":           {func(f *Facts) { f.Dirs[0].Error = "is a file" }, Fail, "is a file"},
		"run directory low":   {func(f *Facts) { f.Dirs[0] = Dir{Path: "/run/carob", FreeBytes: 1 << 20, Run: true} }, Warn, "1 MiB free"},
		"run directory small": {func(f *Facts) { f.Dirs[0] = Dir{Path: "/run/carob", FreeBytes: 200 << 20, Run: true} }, OK, ""},
		"disk low":            {func(f *Facts) { f.Dirs[0].FreeBytes = 1 << 20 }, Warn, "1 MiB free"},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			tc.change(&f)
			worst, detail := OK, ""
			for _, finding := range Judge(f) {
				if finding.Level == OK {
					continue
				}
				if finding.Remedy == "" {
					t.Errorf("%s has no remedy", finding.What)
				}
				worst, detail = finding.Level, finding.Detail
			}
			if worst != tc.level || !strings.Contains(detail, tc.detail) {
				t.Errorf("got %s %q, want %s with %q", worst, detail, tc.level, tc.detail)
			}
			if Failed(Judge(f)) != (tc.level == Fail) {
				t.Error("Failed disagrees")
			}
		})
	}
}

func TestGatherSeesThisMachine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := t.TempDir()
	f := Gather(t.Context(), Where{
		DataDir: dir + "/not/there/yet", RunDir: "/proc/version", Listen: l.Addr().String(), Address: dir + "/c.sock",
		ContainerdVersion: func(context.Context, string) (string, error) { return "", errors.New("nobody answers") },
		LoadCNI:           func() (string, error) { return "", nil },
		Users:             func(context.Context) Users { return Users{Kernel: "asked"} },
	})
	if f.Kernel == "" || f.CgroupVersion == 0 || len(f.Features) == 0 {
		t.Errorf("the kernel was not seen: %+v", f)
	}
	if f.ListenError == "" {
		t.Error("a taken address looks free")
	}
	if f.Users.Kernel != "asked" {
		t.Errorf("users: %+v", f.Users)
	}
	if f.ContainerdError != "nobody answers" {
		t.Errorf("containerd: %q", f.ContainerdError)
	}
	if f.Dirs[0].Error != "" || f.Dirs[0].FreeBytes == 0 {
		t.Errorf("a directory to be made: %+v", f.Dirs[0])
	}
	if f.Dirs[1].Error == "" {
		t.Error("a file looks like a directory")
	}
}
