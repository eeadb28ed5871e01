package ctrd

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
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
