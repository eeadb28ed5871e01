package ctrd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"github.com/moby/sys/mountinfo"
)

func TestSignalInit(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(groups), "\n")
	pid := cmd.Process.Pid
	if signalInit(pid, own+" of another", syscall.SIGTERM) {
		t.Error("a process of another cgroup was signalled")
	}
	if signalInit(0, own, syscall.SIGTERM) || signalInit(1, own, syscall.SIGTERM) {
		t.Error("no process, or the machine's first, was signalled")
	}
	if !signalInit(pid, own, syscall.SIGTERM) {
		t.Error("the process was not signalled")
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) {
		t.Fatalf("the process ended with %v", err)
	}
	if status, ok := ended.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v, want SIGTERM", ended)
	}
	if signalInit(pid, own, syscall.SIGTERM) {
		t.Error("a number that nobody has was signalled")
	}
}

func TestPlainProcess(t *testing.T) {
	for _, c := range []struct {
		name, binary string
		options      bool
		want         bool
	}{
		{name: DefaultRuntimeHandler, want: true},
		{name: DefaultRuntimeHandler, options: true, want: true},
		{name: DefaultRuntimeHandler, options: true, binary: "/usr/local/sbin/runc", want: true},
		{name: DefaultRuntimeHandler, options: true, binary: "crun", want: true},
		{name: DefaultRuntimeHandler, options: true, binary: "/usr/bin/runsc"},
		{name: "io.containerd.kata.v2"},
		{name: "io.containerd.runsc.v1"},
	} {
		info := containers.RuntimeInfo{Name: c.name}
		if c.options {
			packed, err := typeurl.MarshalAny(&runcoptions.Options{BinaryName: c.binary})
			if err != nil {
				t.Fatal(err)
			}
			info.Options = packed
		}
		if got := plainProcess(info); got != c.want {
			t.Errorf("%s %q: %v, want %v", c.name, c.binary, got, c.want)
		}
	}
}

// TestASignalNeedsNobody signals a container whose shim stands still.
func TestASignalNeedsNobody(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "trap 'exit 7' USR1; while :; do sleep 0.01; done")
	id := run(t, r, req)
	shim := b.shims(t)[0]
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(shim, syscall.SIGCONT) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.Signal(ctx, id, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(shim, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if x := waitExit(t, r, id); x.Code != 7 {
		t.Errorf("exit %+v, want code 7", x)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// TestRootsAreNotInTheListOfMounts: neither after a start nor where an earlier
// carob left one mounted.
func TestRootsAreNotInTheListOfMounts(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	id := run(t, r, req)
	root := filepath.Join(b.options().State, bundlesDir, "carob-test", id, "rootfs")
	hidden := func() bool {
		mounted, err := mountinfo.Mounted(root)
		if err != nil {
			t.Fatal(err)
		}
		return !mounted
	}
	eventually(t, "the root file system is hidden", hidden)
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	again := b.connect(t)
	if _, err := again.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one that is there at a start is hidden", hidden)
	if err := again.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}
