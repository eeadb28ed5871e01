package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/carob-project/carob/pkg/pod"
)

// newManager returns a manager on the machine's own hierarchies, with a root
// that is gone when the test ends.
func newManager(t *testing.T, change ...func(*Info)) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes cgroups: run it as root")
	}
	info, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	// Whatever the machine runs, these tests are about the files.
	info.Driver = Cgroupfs
	for _, c := range change {
		c(&info)
	}
	m, err := New(info, fmt.Sprintf("/carob-test%d", os.Getpid()), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.RemoveRoot(context.Background()); err != nil {
			t.Errorf("RemoveRoot: %v", err)
		}
		for _, h := range info.roots() {
			if _, err := os.Stat(m.dir(h, "")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left in %s: %v", h, err)
			}
		}
	})
	return m
}

func value(t *testing.T, m *Manager, name, v1, v2 string) string {
	t.Helper()
	controller, file := "cpu", v1
	if filepath.Ext(v1) == ".limit_in_bytes" {
		controller = "memory"
	}
	if m.info.Version == V2 {
		file = v2
	}
	got, err := read(m.dir(m.hierarchy(controller), name), file)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPodGroups(t *testing.T) {
	m := newManager(t)
	r := pod.Resources{CPUShares: 512, CPUQuota: 50_000, CPUPeriod: 100_000, MemoryLimit: 64 << 20}
	a, b, c := PodName(Burstable, "a"), PodName(Guaranteed, "b-1"), PodName(BestEffort, "c")
	for range 2 {
		for _, name := range []string{a, b, c} {
			if err := m.EnsurePod(t.Context(), name, r); err != nil {
				t.Fatal(err)
			}
		}
	}
	pods, err := m.Pods()
	if diff := cmp.Diff([]string{c, a, b}, pods); diff != "" || err != nil {
		t.Errorf("Pods: %v %s", err, diff)
	}
	if got := value(t, m, a, "memory.limit_in_bytes", "memory.max"); got != strconv.Itoa(64<<20) {
		t.Errorf("memory limit %s", got)
	}
	burst := value(t, m, "kubepods/burstable", "cpu.shares", "cpu.weight")
	if own := value(t, m, a, "cpu.shares", "cpu.weight"); burst != own {
		t.Errorf("burstable has %s, its only pod %s", burst, own)
	}
	if m.info.Version == V1 {
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if got, err := read(m.dir(m.info.Mounts["cpuset"], a), file); got == "" || err != nil {
				t.Errorf("%s is %q, %v", file, got, err)
			}
		}
	}
	if s, err := m.Stats(a); err != nil || s.OOMKills != 0 {
		t.Errorf("Stats: %+v, %v", s, err)
	}
	for range 2 {
		if err := m.Remove(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if m.Exists(a) || !m.Exists(b) {
		t.Error("the wrong group is gone")
	}
	if _, err := m.Stats(a); !IsGone(err) {
		t.Errorf("Stats of a removed group: %v", err)
	}
}

// A child that ignores SIGTERM, in a group below the pod's as a runtime makes
// it, and one that is frozen.
func TestRemoveKillsLeftovers(t *testing.T) {
	t.Run("as mounted", func(t *testing.T) { removeKillsLeftovers(t, newManager(t)) })
	// The v2 hierarchy beside v1 has no controllers, but processes.
	t.Run("unified", func(t *testing.T) {
		removeKillsLeftovers(t, newManager(t, func(i *Info) {
			if i.Unified != "" {
				i.Version, i.Mounts = V2, nil
			}
		}))
	})
}

func removeKillsLeftovers(t *testing.T, m *Manager) {
	name := PodName(Burstable, "left")
	if err := m.EnsurePod(t.Context(), name, pod.Resources{}); err != nil {
		t.Fatal(err)
	}
	// The child begins in the group: it waits until its parent is there.
	cmd := exec.Command("sh", "-c", "trap '' TERM; read go; sleep 1000 & echo up; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, ierr := cmd.StdinPipe()
	out, oerr := cmd.StdoutPipe()
	if err := errors.Join(ierr, oerr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	for _, h := range m.info.controlRoots() {
		dir := m.dir(h, name+"/container")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if h == m.info.Mounts["cpuset"] {
			if err := inheritCPUSet(dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(dir, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	_, werr := in.Write([]byte("go\n"))
	_, rerr := out.Read(make([]byte, 1))
	if err := errors.Join(werr, rerr); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- cmd.Wait() }()
	for _, h := range m.info.controlRoots() {
		dir := m.dir(h, name+"/container")
		_ = write(dir, "freezer.state", "FROZEN")
		_ = write(dir, "cgroup.freeze", "1")
	}
	if err := m.Remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the process still runs")
	}
}

func TestRefusesToKillItself(t *testing.T) {
	m := newManager(t)
	name := PodName(Burstable, "self")
	if err := m.EnsurePod(t.Context(), name, pod.Resources{}); err != nil {
		t.Fatal(err)
	}
	h := m.hierarchy("cpu")
	self := strconv.Itoa(os.Getpid())
	// As a container's: on v2 no process is in a group that passes controllers on.
	inside := filepath.Join(m.dir(h, name), "inside")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(inside, "cgroup.procs", self); err != nil {
		t.Fatal(err)
	}
	err := m.Remove(t.Context(), name)
	if werr := write(h, "cgroup.procs", self); werr != nil {
		t.Fatal(werr)
	}
	if !errors.Is(err, ErrBusy) {
		t.Errorf("Remove of carob's own group: %v", err)
	}
}

func TestConcurrentPods(t *testing.T) {
	m := newManager(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			name := PodName(Burstable, strconv.Itoa(i))
			for range 3 {
				if err := m.EnsurePod(t.Context(), name, pod.Resources{CPUShares: 100}); err != nil {
					t.Errorf("EnsurePod: %v", err)
				}
				if err := m.Remove(t.Context(), name); err != nil {
					t.Errorf("Remove: %v", err)
				}
			}
		})
	}
	wg.Wait()
}
