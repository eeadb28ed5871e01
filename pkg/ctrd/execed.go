package ctrd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	tasktypes "github.com/containerd/containerd/api/types/task"
)

// trueStatus corrects what a shim says about a task that was being started when
// containerd was killed. The OCI runtime is then killed as well, and if that
// happened after it had let the process go, the process runs and the shim takes
// it for one that waits for its start, for ever. Starting it again would wait
// for ever, too.
func (r *Runtime) trueStatus(t *tasktypes.Process) tasktypes.Status {
	if t.Status != tasktypes.Status_CREATED {
		return t.Status
	}
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(t.Pid)), "cmdline"))
	if err != nil || r.waits(cmdline) {
		return t.Status
	}
	return tasktypes.Status_RUNNING
}

// waits says whether a command line is still that of one of the OCI runtimes,
// which waits in the container for its start; an empty one says nothing.
func (r *Runtime) waits(cmdline []byte) bool {
	binaries := []string{defaultRuntime, filepath.Base(r.opts.Binary)}
	for _, h := range r.opts.Handlers {
		binaries = append(binaries, filepath.Base(h.Binary))
	}
	return slices.ContainsFunc(binaries, func(b string) bool { return waits(cmdline, b) })
}

// waits says whether a command line is that of this OCI runtime.
func waits(cmdline []byte, runtime string) bool {
	args := bytes.Split(bytes.TrimRight(cmdline, "\x00"), []byte{0})
	if len(args[0]) == 0 {
		return true
	}
	if filepath.Base(string(args[0])) != runtime {
		return false
	}
	// The container's own program may have the runtime's name.
	return runtime != defaultRuntime || len(args) == 2 && string(args[1]) == "init"
}
