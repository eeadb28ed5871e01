package ctrd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/identifiers"
	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

func TestContainerID(t *testing.T) {
	const uid = "0a1b2c3d-0000-4000-8000-000000000001"
	seen := map[string]string{}
	for _, c := range []string{"c", "a-b", "a--b", strings.Repeat("x", 63), strings.Repeat("x", 62), "a-0"} {
		for n := range 3 {
			id := ContainerID(uid, c, n)
			if err := identifiers.Validate(id); err != nil {
				t.Errorf("%s %d: %v", c, n, err)
			}
			if id != ContainerID(uid, c, n) {
				t.Errorf("%s %d: not the same twice", c, n)
			}
			if other, ok := seen[id]; ok {
				t.Errorf("%s %d has the ID of %s", c, n, other)
			}
			seen[id] = fmt.Sprint(c, n)
		}
	}
	if id := ContainerID(uid, "web", 7); id != uid+"-web-7" {
		t.Errorf("plain names stay readable: %s", id)
	}
}

func FuzzContainerID(f *testing.F) {
	f.Add("0a1b2c3d-0000-4000-8000-000000000001", "web", 3)
	f.Add("", "--", -1)
	f.Fuzz(func(t *testing.T, uid, container string, n int) {
		if err := identifiers.Validate(ContainerID(types.UID(uid), container, n)); err != nil {
			t.Error(err)
		}
	})
}

func TestLabelsRoundTrip(t *testing.T) {
	r := pod.CreateRequest{
		Pod: pod.Ref{UID: "u", Namespace: "n", Name: "p"}, Container: "c", Init: true, Number: 3, Streak: 2,
		SpecHash: "h", ImageName: "busybox",
	}
	got, ok := attemptFromLabels("id", attemptLabels("inst", "boot", r, pod.Image{ID: "iid"}, specs.User{UID: 5, GID: 6, AdditionalGids: []uint32{6, 7}}, "/cg"))
	want := pod.Attempt{
		Pod: r.Pod, Container: "c", Init: true, Number: 3, Streak: 2, ID: "id",
		SpecHash: "h", ImageName: "busybox", ImageID: "iid",
		User: &pod.User{UID: 5, GID: 6, Groups: []int64{6, 7}},
	}
	if !ok || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := attemptFromLabels("id", nil); ok {
		t.Error("no labels make an attempt")
	}
}

func FuzzObserve(f *testing.F) {
	f.Add("u", "c", "1", "2", "2026-01-02T03:04:05Z", `{"code":1}`, int32(2))
	f.Add("u", "c", "-1", "x", "", "{", int32(-9))
	f.Fuzz(func(t *testing.T, uid, container, number, streak, started, exit string, status int32) {
		c := containers.Container{ID: "id", Labels: map[string]string{
			labelUID: uid, labelContainer: container, labelAttempt: number, labelStreak: streak,
			labelStartedAt: started, labelExit: exit,
		}}
		for _, task := range []*tasktypes.Process{nil, {Status: tasktypes.Status(status)}} {
			e, _, ok := observe(c, task, "boot")
			if ok && (e.attempt.Number < 0 || e.attempt.Streak < 0) {
				t.Errorf("negative: %+v", e.attempt)
			}
			if (e.attempt.State == pod.AttemptExited) != (e.attempt.Exit != nil) {
				t.Errorf("state and exit disagree: %+v", e.attempt)
			}
		}
	})
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"busybox", "busybox:1", "localhost:5000/a/b@sha256:" + strings.Repeat("a", 64), "A", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		named, err := normalize(s)
		if err != nil {
			if !errors.Is(err, pod.ErrImageName) {
				t.Errorf("error %v", err)
			}
			return
		}
		if again, err := normalize(named.String()); err != nil || again.String() != named.String() {
			t.Errorf("%q becomes %q becomes %v, %v", s, named, again, err)
		}
	})
}

func TestExitRecordFitsALabel(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, text := range []string{"plain", strings.Repeat("é", 5000), strings.Repeat("x", 5000) + "\xff"} {
		s, err := exitRecord{Code: 128, FinishedAt: at, StartedAt: at, StartError: text}.encode()
		if err != nil || len(s) > 4000 {
			t.Errorf("%d bytes, %v", len(s), err)
		}
		back := decodeExit(s, time.Time{})
		if back.Code != 128 || !back.FinishedAt.Equal(at) || back.StartError == "" {
			t.Errorf("read back %+v", back)
		}
	}
	if x := decodeExit("nonsense", at); !x.Lost || x.Code != codeLost || !x.FinishedAt.Equal(at) {
		t.Errorf("unreadable record: %+v", x)
	}
}

func TestProcessArgs(t *testing.T) {
	img := ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}}
	for _, tc := range []struct {
		command, args, want []string
	}{
		{nil, nil, []string{"/entry", "default"}},
		{nil, []string{"a"}, []string{"/entry", "a"}},
		{[]string{"/c"}, nil, []string{"/c"}},
		{[]string{"/c"}, []string{"a"}, []string{"/c", "a"}},
	} {
		got := processArgs(img, pod.CreateRequest{Command: tc.command, Args: tc.args})
		if !slices.Equal(got, tc.want) {
			t.Errorf("command %v args %v: %v, want %v", tc.command, tc.args, got, tc.want)
		}
	}
}

func TestProcessEnv(t *testing.T) {
	got := processEnv([]string{"A=image", "PATH=/image", "BROKEN"}, pod.CreateRequest{
		Hostname: "h", Env: []pod.EnvVar{{Name: "A", Value: "mine"}, {Name: "B", Value: "x=y"}, {Name: "A", Value: "last"}},
	})
	want := []string{"PATH=/image", "A=last", "HOSTNAME=h", "B=x=y"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBuildSpec(t *testing.T) {
	in := specInput{
		id: "id",
		req: pod.CreateRequest{
			Pod: pod.Ref{UID: "u"}, Command: []string{"/c"},
			Sandbox:     pod.Sandbox{Namespaces: pod.Namespaces{Net: "/n", IPC: "/i"}, ShmPath: "/shm"},
			Resources:   pod.Resources{CPUShares: 2, CPUQuota: 3, CPUPeriod: 4, MemoryLimit: 5},
			OOMScoreAdj: -900,
			Mounts: []pod.Mount{
				{HostPath: "/h2", ContainerPath: "/data/deep", ReadOnly: true, Recursive: true},
				{HostPath: "/h1", ContainerPath: "/data/"},
				{HostPath: "/h3", ContainerPath: "/dev/shm"},
			},
		},
		host:   host{minOOM: 0, swap: true, cgroupV2: true, seccomp: true},
		cgroup: "/cg",
	}
	s, err := buildSpec(in)
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != "1.0.2" {
		t.Errorf("version %s: a runtime of that age has all that this spec needs", s.Version)
	}
	if *s.Process.OOMScoreAdj != 0 || s.Process.NoNewPrivileges || s.Process.Rlimits != nil || s.Process.Cwd != "/" {
		t.Errorf("process: %+v", s.Process)
	}
	if *s.Linux.Resources.Memory.Limit != 5 || *s.Linux.Resources.Memory.Swap != 5 || *s.Linux.Resources.CPU.Shares != 2 ||
		s.Linux.Resources.Unified["memory.oom.group"] != "1" {
		t.Errorf("resources: %+v", s.Linux.Resources)
	}
	want := []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
		{Type: specs.NetworkNamespace, Path: "/n"}, {Type: specs.IPCNamespace, Path: "/i"}, {Type: specs.CgroupNamespace},
	}
	if d := cmp.Diff(want, s.Linux.Namespaces); d != "" {
		t.Error(d)
	}
	if s.Annotations[groupAnnotation] != "u" || s.Linux.CgroupsPath != "/cg" || s.Linux.Seccomp == nil {
		t.Errorf("annotations %v, cgroup %s, seccomp %v", s.Annotations, s.Linux.CgroupsPath, s.Linux.Seccomp)
	}
	at := map[string]int{}
	for i, m := range s.Mounts {
		if _, twice := at[m.Destination]; twice {
			t.Errorf("two mounts at %s", m.Destination)
		}
		at[m.Destination] = i
	}
	if at["/data"] > at["/data/deep"] || at["/dev"] > at["/dev/shm"] {
		t.Errorf("order of mounts: %v", at)
	}
	if m := s.Mounts[at["/dev/shm"]]; m.Source != "/h3" {
		t.Errorf("shared memory: %+v", m)
	}
	if m := s.Mounts[at["/data/deep"]]; !slices.Equal(m.Options, []string{"rbind", "rprivate", "ro"}) {
		t.Errorf("options: %v", m.Options)
	}
	if _, run := at["/run"]; run {
		t.Error("a tmpfs hides the image's /run")
	}
	in.host.hugePages, in.req.Resources.HugePages = []int64{2 << 20, 1 << 30}, map[int64]int64{2 << 20: 4 << 20}
	if s, err := buildSpec(in); err != nil || !slices.Equal(s.Linux.Resources.HugepageLimits, []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4 << 20}, {Pagesize: "1GB"}}) {
		t.Errorf("huge pages: %v, %v", s.Linux.Resources.HugepageLimits, err)
	}
	in.host.cgroupV2 = false
	if s, err := buildSpec(in); err != nil || s.Linux.Resources.Unified != nil {
		t.Errorf("cgroup v1: %v, %v", s.Linux.Resources.Unified, err)
	}
}

func TestCgroupPaths(t *testing.T) {
	for _, tc := range []struct {
		parent  string
		path    string
		systemd bool
		v1, v2  string
	}{
		{"/carob-1/kubepods/podu", "/carob-1/kubepods/podu/id", false,
			"/sys/fs/cgroup/memory/carob-1/kubepods/podu/id", "/sys/fs/cgroup/carob-1/kubepods/podu/id"},
		{"a.slice/a-b.slice", "a-b.slice:carob:id", true,
			"/sys/fs/cgroup/memory/a.slice/a-b.slice/carob-id.scope", "/sys/fs/cgroup/a.slice/a-b.slice/carob-id.scope"},
	} {
		path, systemd := cgroupsPath(tc.parent, "id")
		if path != tc.path || systemd != tc.systemd {
			t.Errorf("%s: %s, %v", tc.parent, path, systemd)
		}
		if v1, v2 := cgroupDir(false, path), cgroupDir(true, path); v1 != tc.v1 || v2 != tc.v2 {
			t.Errorf("%s: %s and %s", tc.parent, v1, v2)
		}
	}
}

func TestObserve(t *testing.T) {
	labels := func(more ...string) map[string]string {
		l := attemptLabels("i", "boot", pod.CreateRequest{Pod: pod.Ref{UID: "u"}, Container: "c"}, pod.Image{}, specs.User{}, "")
		for i := 0; i < len(more); i += 2 {
			l[more[i]] = more[i+1]
		}
		return l
	}
	const at = "2026-01-02T03:04:05Z"
	for _, tc := range []struct {
		name   string
		labels map[string]string
		task   *tasktypes.Process
		boot   string
		state  pod.AttemptState
		next   followUp
	}{
		{"created", labels(), &tasktypes.Process{Status: tasktypes.Status_CREATED, Pid: 7}, "boot", pod.AttemptCreated, nothing},
		{"running", labels(labelStartedAt, at), &tasktypes.Process{Status: tasktypes.Status_RUNNING, Pid: 7}, "boot", pod.AttemptRunning, nothing},
		{"start was not recorded", labels(), &tasktypes.Process{Status: tasktypes.Status_RUNNING, Pid: 7}, "boot", pod.AttemptRunning, nothing},
		{"start did not happen", labels(labelStartedAt, at), &tasktypes.Process{Status: tasktypes.Status_CREATED, Pid: 7}, "boot", pod.AttemptCreated, nothing},
		{"stopped", labels(labelStartedAt, at), &tasktypes.Process{Status: tasktypes.Status_STOPPED}, "boot", pod.AttemptRunning, finishIt},
		{"recorded, task left", labels(labelExit, "{}"), &tasktypes.Process{Status: tasktypes.Status_STOPPED}, "boot", pod.AttemptExited, finishIt},
		{"recorded", labels(labelExit, "{}"), nil, "boot", pod.AttemptExited, nothing},
		{"gone", labels(labelStartedAt, at), nil, "boot", pod.AttemptRunning, lostSoon},
		{"gone with a reboot", labels(labelStartedAt, at), nil, "later", pod.AttemptRunning, lostNow},
		{"half made", labels(), nil, "boot", pod.AttemptCreated, lostNow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, next, ok := observe(containers.Container{ID: "id", Labels: tc.labels}, tc.task, tc.boot)
			if !ok || e.attempt.State != tc.state || next != tc.next {
				t.Errorf("state %v, next %v, %v", e.attempt.State, next, ok)
			}
		})
	}
}

func TestMergeKeepsWhatIsNewer(t *testing.T) {
	s := newState()
	put := func(id string) {
		s.put(entry{attempt: pod.Attempt{ID: id, Pod: pod.Ref{UID: types.UID(id)}}})
	}
	put("old")
	put("vanished")
	put("removed")
	since := s.mark()
	put("made")
	s.remove("removed")
	listed := map[string]entry{}
	for _, id := range []string{"old", "removed", "found", "busy"} {
		listed[id] = entry{attempt: pod.Attempt{ID: id, Number: 1}}
	}
	s.merge(listed, since, func(id string) bool { return id == "busy" })
	var got []string
	for _, a := range s.list() {
		got = append(got, fmt.Sprint(a.ID, a.Number))
	}
	if d := cmp.Diff([]string{"found1", "made0", "old1"}, got); d != "" {
		t.Error(d)
	}
}

func TestWatchersMissNothingAndEndWithABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newState()
		s.setReady()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		changes, err := s.watch(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			s.put(entry{attempt: pod.Attempt{ID: fmt.Sprint(i), Pod: pod.Ref{UID: types.UID(fmt.Sprint(i % 3))}}})
		}
		synctest.Wait()
		seen := map[types.UID]bool{}
		for len(seen) < 3 {
			seen[(<-changes).UID] = true
		}
		s.setBroken(errors.New("gone"))
		for range changes {
		}
		if err := s.await(ctx); !errors.Is(err, pod.ErrUnavailable) {
			t.Errorf("await = %v", err)
		}
	})
}

func TestKeyedLocks(t *testing.T) {
	var k keyedLocks
	unlock, err := k.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := k.lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.lock(ctx, "a"); err == nil {
		t.Error("locked twice")
	}
	if !k.held("a") || k.held("c") {
		t.Error("held")
	}
	unlock()
	other()
	if len(k.locks) != 0 {
		t.Errorf("left: %v", k.locks)
	}
}

func TestRouteLogsIsQuietAndNeverFatal(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	h := zapHook{zap.New(core)}
	for _, l := range h.Levels() {
		if err := h.Fire(&logrus.Entry{Level: l, Message: "m", Data: map[string]any{"k": 1}}); err != nil {
			t.Error(err)
		}
	}
	if logs.Len() != len(h.Levels()) {
		t.Errorf("%d entries", logs.Len())
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestOCIVersion(t *testing.T) {
	s := &specs.Spec{Mounts: []specs.Mount{{Destination: "/a"}, {Destination: "/b", UIDMappings: []specs.LinuxIDMapping{{Size: 1}}}}}
	if got := ociVersion(s); got != specs.Version {
		t.Errorf("with a mapped mount: %s, not %s", got, specs.Version)
	}
	s.Mounts = s.Mounts[:1]
	if got := ociVersion(s); got != "1.0.2" {
		t.Errorf("without: %s", got)
	}
}
