package ctrd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/api/services/tasks/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// Signal signals the attempt's init process; see pod.Runtime.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return err
	}
	e, ok := r.state.get(id)
	if !ok || e.attempt.State == pod.AttemptExited {
		return nil
	}
	if e.plain && e.attempt.State == pod.AttemptRunning && signalInit(e.attempt.PID, id, sig) {
		return nil
	}
	err := r.kill(ctx, id, sig, false)
	if err == nil || errors.Is(err, pod.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	// It may have ended at this very moment, and its shim with it.
	if task, terr := r.task(ctx, id); terr == nil && (task == nil || task.Status == tasktypes.Status_STOPPED) {
		return nil
	}
	if e, ok := r.state.get(id); !ok || e.attempt.State == pod.AttemptExited {
		return nil
	}
	return err
}

func (r *Runtime) kill(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
	if err = orGone(err); err != nil && !errdefs.IsFailedPrecondition(err) {
		return fmt.Errorf("signal task: %w", err)
	}
	return nil
}

// signalInit signals a container's first process without the OCI runtime, which
// does the same thing and is a program to start for it: half of what the end of
// a pod would cost. It says whether that was done; where it is not certain that
// the number still is that process, nothing is.
func signalInit(pid int, id string, sig syscall.Signal) bool {
	if pid <= 1 {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	// Read after the open: what is true of the number now is true of fd. A
	// process that has left its cgroup, as a privileged one may, is not known.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !bytes.Contains(groups, []byte(id)) {
		return false
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	return err == nil || errors.Is(err, unix.ESRCH)
}

// plainProcess says whether the process that a container's shim names is the
// container's own: that of a virtual machine or of a kernel in user space is not.
func plainProcess(info containers.RuntimeInfo) bool {
	if info.Name != DefaultRuntimeHandler {
		return false
	}
	// What came over the wire is no nil even where there is nothing.
	if info.Options == nil || info.Options.GetTypeUrl() == "" {
		return true
	}
	var o runcoptions.Options
	if err := typeurl.UnmarshalTo(info.Options, &o); err != nil {
		return false
	}
	switch filepath.Base(o.BinaryName) {
	case ".", "runc", "crun": // "." is that of an empty name
		return true
	}
	return false
}
