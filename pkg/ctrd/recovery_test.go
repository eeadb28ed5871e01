package ctrd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/pkg/pod"
)

// killContainerd kills it and waits until carob's supervision has a new one.
func (b *bench) killContainerd(t *testing.T) {
	t.Helper()
	old := b.child.PID()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another containerd", func() bool { pid := b.child.PID(); return pid != 0 && pid != old })
}

func TestContainerdKilledAndBack(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	uid := newUID()
	req, pipes := b.request(t, uid, "while :; do echo tick; sleep 0.1; done")
	id := run(t, r, req)
	ender, _ := b.request(t, uid, "sleep 1; exit 5")
	ender.Container, ender.Sandbox = "ender", req.Sandbox
	ends := run(t, r, ender)
	before, _ := attempt(t, r, id)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := r.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Stopped first, so that the end of the other container falls into the
	// time without a containerd.
	pause(t, b.child.PID())
	eventually(t, "the other container to end", func() bool {
		a, _ := attempt(t, r, ends)
		return syscall.Kill(a.PID, 0) != nil
	})
	b.killContainerd(t)
	broken := false
	for range changes {
		broken = true
	}
	t.Log("changes were told before the break:", broken)
	eventually(t, "the attempts again", func() bool { _, ok := attempt(t, r, id); return ok })
	after, _ := attempt(t, r, id)
	if after.PID != before.PID || after.State != pod.AttemptRunning || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("before %+v, after %+v", before, after)
	}
	x := waitExit(t, r, ends)
	if x.Code != 5 || x.Lost {
		t.Errorf("exit in between = %+v, want code 5", x)
	}
	have := func() int { out, _ := pipes.Output(); return len(out) }
	then := have()
	eventually(t, "more output", func() bool { return have() > then })
	if err := r.Signal(t.Context(), id, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if x := waitExit(t, r, id); x.Code != 137 || x.Lost {
		t.Errorf("exit after = %+v", x)
	}
}

// pause stops a process so that it does nothing until it is killed.
func pause(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

func TestLonelyExitWhileContainerdIsAway(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 0.5; exit 6")
	id := run(t, r, req)
	a, _ := attempt(t, r, id)
	pause(t, b.child.PID())
	eventually(t, "its end", func() bool { return syscall.Kill(a.PID, 0) != nil })
	b.killContainerd(t)
	x := waitExit(t, r, id)
	if x.Code != 6 || x.Lost {
		t.Errorf("exit = %+v, want code 6", x)
	}
}

func TestUnavailableWhileContainerdIsAway(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	if err := b.child.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "List says so", func() bool {
		_, err := r.List(t.Context())
		return errors.Is(err, pod.ErrUnavailable)
	})
	for what, err := range map[string]error{
		"Ping":   r.Ping(t.Context()),
		"Start":  r.Start(t.Context(), "x"),
		"Remove": r.Remove(t.Context(), "x"),
		"Signal": r.Signal(t.Context(), "x", syscall.SIGTERM),
		"Create": func() error { _, err := r.Create(t.Context(), pod.CreateRequest{}); return err }(),
		"Watch":  func() error { _, err := r.Watch(t.Context()); return err }(),
		"Present": func() error {
			_, _, err := r.Present(t.Context(), testImage)
			return err
		}(),
		"Pull": func() error { _, err := r.Pull(t.Context(), testImage, pod.PullOptions{}); return err }(),
	} {
		if !errors.Is(err, pod.ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", what, err)
		}
	}
	b.launch(t)
	eventually(t, "it works again", func() bool { _, err := r.List(t.Context()); return err == nil })
}

func TestKilledShimIsALostAttempt(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	id := run(t, r, req)
	for _, pid := range b.shims(t) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if x := waitExit(t, r, id); !x.Lost || x.Code != 137 {
		t.Errorf("exit = %+v, want lost", x)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestRebootLosesEveryAttempt(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	id := run(t, r, req)
	a, _ := attempt(t, r, id)
	_ = r.Close()
	ctx := r.scoped(t.Context())
	r2 := b.connect(t)
	if err := r2.usable(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As a reboot leaves it: the record, of an earlier boot, and no task.
	if err := r2.setLabel(ctx, id, labelBoot, "another"); err != nil {
		t.Fatal(err)
	}
	unlock, err := r2.ids.lock(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := r2.stopTask(ctx, bare(id, req.Pod.UID)); err != nil {
		t.Error(err)
	}
	_ = r2.Close()
	unlock()
	r3 := b.connect(t)
	got, ok := attempt(t, r3, id)
	if !ok || got.State != pod.AttemptExited || !got.Exit.Lost || got.Exit.Code != 137 || !got.StartedAt.Equal(a.StartedAt) {
		t.Errorf("after a reboot: %+v, %+v", got, got.Exit)
	}
}

func TestLaunchAdoptsAndStops(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	id := run(t, r, req)
	a, _ := attempt(t, r, id)
	second, err := Launch(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	if second.PID() != b.child.PID() {
		t.Errorf("a second containerd was started: %d beside %d", second.PID(), b.child.PID())
	}
	// The first one would start another: it has to go first.
	if err := b.child.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the adopted one is replaced when it ends", func() bool {
		return second.PID() != 0 && second.PID() != b.child.PID() && r.Ping(t.Context()) == nil
	})
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "state", "containerd.pid")); !os.IsNotExist(err) {
		t.Errorf("pid file: %v", err)
	}
	if err := syscall.Kill(a.PID, 0); err != nil {
		t.Errorf("the container ended with containerd: %v", err)
	}
	b.launch(t)
	eventually(t, "the container is found again", func() bool {
		again, ok := attempt(t, r, id)
		return ok && again.PID == a.PID && again.State == pod.AttemptRunning
	})
}

func TestLaunchDistrustsAPIDFile(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	c := &Child{opts: LaunchOptions{Binary: "/usr/bin/containerd", State: dir}}
	if err := os.WriteFile(c.opts.pidPath(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		t.Fatal(err)
	}
	if pid := c.leftover(); pid != 0 {
		t.Errorf("takes process %d for a containerd", pid)
	}
}

func TestLaunchWithoutContainerd(t *testing.T) {
	o := LaunchOptions{Binary: filepath.Join(t.TempDir(), "containerd")}
	if _, err := Launch(t.Context(), o); !errors.Is(err, ErrNoContainerd) {
		t.Errorf("Launch = %v, want ErrNoContainerd", err)
	}
}

func TestLaunchTellsWhyItFailed(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "containerd")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho no room for me\nexit 1\n"), 0o700); err != nil { //nolint:gosec // has to be executable
		t.Fatal(err)
	}
	began := time.Now()
	_, err := Launch(t.Context(), LaunchOptions{
		Binary: binary, Root: dir + "/r", State: dir + "/s", Socket: dir + "/s/c.sock", LogPath: dir + "/log",
	})
	if err == nil || !strings.Contains(err.Error(), "no room for me") {
		t.Errorf("Launch = %v", err)
	}
	if time.Since(began) > 10*time.Second {
		t.Error("it waited for a process that had ended")
	}
}

func TestOOMWhileAllWereAway(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 0.5; exec tail /dev/zero")
	req.Resources.MemoryLimit = 16 << 20
	id := run(t, r, req)
	a, _ := attempt(t, r, id)
	_ = r.Close()
	if err := b.child.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return syscall.Kill(a.PID, 0) != nil })
	b.launch(t)
	if x := waitExit(t, b.connect(t), id); x.Code != 137 || !x.OOMKilled || x.Lost {
		t.Errorf("exit = %+v, want an OOM kill", x)
	}
}

// TestExitWhileAllWereAway is a container that ends while neither carob nor
// containerd runs, for longer than a shim waits for them.
func TestExitWhileAllWereAway(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 0.5; exit 8")
	id := run(t, r, req)
	a, _ := attempt(t, r, id)
	_ = r.Close()
	if err := b.child.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return syscall.Kill(a.PID, 0) != nil })
	b.launch(t)
	again := b.connect(t)
	if x := waitExit(t, again, id); x.Code != 8 || x.Lost {
		t.Errorf("exit = %+v, want code 8", x)
	}
	if _, err := os.Stat(storedExit(b.options().State, "carob-test", id)); !os.IsNotExist(err) {
		t.Errorf("what the shim told is left on disk: %v", err)
	}
}
