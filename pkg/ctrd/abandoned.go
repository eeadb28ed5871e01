package ctrd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A containerd that was killed while it made a task leaves what the next one
// cannot remove: a bundle whose shim does not know the task, a process that
// runc made and no shim knows, a shim that has nothing to do. The next
// containerd would take such a bundle for a task that exists. So all of it is
// removed before a containerd is started.

const (
	// runtimeRoot is where the shims let the OCI runtime keep its state, below
	// that by namespace and ID.
	runtimeRoot    = "/run/containerd/runc"
	defaultRuntime = "runc"
	// helperTime bounds the wait for the shims' short-lived helpers.
	helperTime = 2 * time.Second
	helperPoll = 10 * time.Millisecond
	clearTime  = 20 * time.Second
)

// abandoned says whether a bundle whose shim answered with err belongs to a
// task that was never finished. A bundle with a dead shim is containerd's to
// remove, and it can if the shim got as far as noting the runtime.
func abandoned(bundle string, err error) bool {
	if errdefs.IsNotFound(native(err)) {
		return true
	}
	_, noted := os.Stat(filepath.Join(bundle, "runtime"))
	return errors.Is(noted, fs.ErrNotExist)
}

// clearBundle removes a bundle that belongs to no task, and whatever the OCI
// runtime made for it.
func clearBundle(ctx context.Context, bundle, ns, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTime)
	defer cancel()
	binary, err := os.ReadFile(filepath.Join(bundle, "runtime")) //nolint:gosec // containerd's own state
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := clearRuntime(ctx, string(binary), ns, id); err != nil {
		return err
	}
	rootfs := filepath.Join(bundle, "rootfs")
	if err := mount.UnmountAll(rootfs, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", rootfs, err)
	}
	// Not with what is below it: something may be mounted there after all.
	if err := os.Remove(rootfs); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(bundle)
}

// clearRuntime ends and removes a container that the OCI runtime knows and no
// shim does. That there is none is no error.
func clearRuntime(ctx context.Context, binary, ns, id string) error {
	root := filepath.Join(runtimeRoot, ns)
	if _, err := os.Stat(filepath.Join(root, id)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if binary = strings.TrimSpace(binary); binary == "" {
		binary = defaultRuntime
	}
	out, err := exec.CommandContext(ctx, binary, "--root", root, "delete", "--force", id).CombinedOutput() //nolint:gosec // the runtime that made it
	if err != nil {
		return fmt.Errorf("%s delete: %w: %s", binary, err, cutText(string(out), 400))
	}
	return nil
}

// awaitHelpers waits until no helper of a shim runs that an ended containerd
// started: it may still make a shim, or remove one.
func awaitHelpers(ctx context.Context, socket string) {
	ctx, cancel := context.WithTimeout(ctx, helperTime)
	defer cancel()
	tick := time.NewTicker(helperPoll)
	defer tick.Stop()
	for helps(socket) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func helps(socket string) bool {
	pids, _ := ShimPIDs(socket) // none can be seen: none is waited for
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00")
		if last := args[len(args)-1]; last == "start" || last == "delete" {
			return true
		}
	}
	return false
}

// openLogs opens the log pipes of a containerd's shims for reading, until the
// returned function is called. A shim waits for a reader before it serves, and
// the containerd that was to be one is gone.
func openLogs(socket string) (release func()) {
	pids, _ := ShimPIDs(socket) // none can be seen: none waits
	var logs []*os.File
	for _, pid := range pids {
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			target, _ := os.Readlink(fd)
			if filepath.Base(strings.TrimSuffix(target, " (deleted)")) != "log" {
				continue
			}
			info, err := os.Stat(fd)
			if err != nil || info.Mode().Type() != fs.ModeNamedPipe {
				continue
			}
			// By the descriptor: the pipe's name may be gone.
			if f, err := os.OpenFile(fd, os.O_RDONLY|unix.O_NONBLOCK, 0); err == nil {
				logs = append(logs, f)
			}
		}
	}
	return func() {
		for _, f := range logs {
			_ = f.Close()
		}
	}
}

// endIdleShims tells every shim of a containerd that does not run to end if it
// has nothing to do. One that has containers takes no notice.
func endIdleShims(ctx context.Context, socket string, log *zap.Logger) {
	pids, err := ShimPIDs(socket)
	if err != nil || len(pids) == 0 {
		return
	}
	listening := listeners()
	for _, pid := range pids {
		ns := shimNamespace(pid)
		for _, path := range socketsOf(pid, listening) {
			if err := shutdownIdle(ctx, path, ns); err != nil {
				log.Debug("a shim does not answer", zap.Int("pid", pid), zap.Error(err))
			}
		}
	}
}

func shutdownIdle(ctx context.Context, path, ns string) error {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, ns), shimTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer func() { _ = client.Close() }()
	_, err = taskv3.NewTTRPCTaskClient(client).Shutdown(ctx, &taskv3.ShutdownRequest{})
	if errdefs.IsNotImplemented(native(err)) {
		_, err = taskv2.NewTTRPCTaskClient(client).Shutdown(ctx, &taskv2.ShutdownRequest{})
	}
	return err
}

func shimNamespace(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(data), "\x00")
	for i := range len(args) - 1 {
		if args[i] == "-namespace" {
			return args[i+1]
		}
	}
	return ""
}

// listeners returns the paths of the machine's listening unix sockets by
// inode.
func listeners() map[string]string {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	const accepting = 1 << 16
	byInode := map[string]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(s.Text())
		if len(fields) != 8 {
			continue
		}
		if flags, err := strconv.ParseUint(fields[3], 16, 32); err == nil && flags&accepting != 0 {
			byInode[fields[6]] = fields[7]
		}
	}
	return byInode
}

// socketsOf returns the paths on which a process listens.
func socketsOf(pid int, listening map[string]string) []string {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	var paths []string
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		if path := listening[strings.TrimSuffix(inode, "]")]; path != "" {
			paths = append(paths, path)
		}
	}
	return paths
}
