package ctrd

import (
	"context"
	"fmt"
	"os"

	tasktypes "github.com/containerd/containerd/api/types/task"

	"github.com/carob-project/carob/pkg/pod"
)

// processesOf opens the PID namespace of an attempt whose process lives; the
// caller closes it when the task that joins it is made.
func (r *Runtime) processesOf(ctx context.Context, id string) (*os.File, error) {
	e, ok := r.state.get(id)
	if !ok || e.attempt.PID == 0 {
		return nil, fmt.Errorf("%w: the container whose processes are to be shared does not run", pod.ErrConfig)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", e.attempt.PID))
	if err != nil {
		return nil, fmt.Errorf("PID namespace to share: %w", err)
	}
	// The process ID may have been another one's by the time it was opened: only
	// if it is still the attempt's now, it was then.
	task, err := r.task(ctx, id)
	if err == nil && (task == nil || task.Status == tasktypes.Status_STOPPED || int(task.Pid) != e.attempt.PID) {
		err = fmt.Errorf("%w: the container whose processes are to be shared has ended", pod.ErrConfig)
	}
	if err != nil {
		_ = ns.Close()
		return nil, err
	}
	return ns, nil
}

// pathOf is a path by which another process of this machine can open a file
// that this process has open.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }
