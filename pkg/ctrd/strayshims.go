package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// containerd gives a pod's shim that is there a tenth of a second to accept a
// connection, and else starts another in its place. On a machine that is busy
// enough, as after a boot, a pod so gets two, of which containerd knows one: the
// other has no container, listens where nobody can reach it, and never ends.

// shim is a process that serves a pod's containers.
type shim struct {
	pid int
	// started tells it from a later process of that number.
	started string
	// name is the container it was started for: it begins with the pod's UID.
	name string
	// busy: it has processes.
	busy bool
}

// stray returns those without a process whose pod has another shim that has.
func stray(all []shim, wanted func(types.UID) bool) []shim {
	uidOf := func(s shim) types.UID {
		const length = 36 // of a UUID
		if len(s.name) <= length || s.name[length] != '-' {
			return ""
		}
		return types.UID(s.name[:length])
	}
	served := map[types.UID]bool{}
	for _, s := range all {
		served[uidOf(s)] = served[uidOf(s)] || s.busy
	}
	var out []shim
	for _, s := range all {
		if uid := uidOf(s); uid != "" && !s.busy && served[uid] && wanted(uid) {
			out = append(out, s)
		}
	}
	return out
}

// GC ends shims that no container has any more: those that still look so a while
// later, as one that is about to begin or to end looks so for an instant.
func (r *Runtime) GC(ctx context.Context, wanted func(types.UID) bool) error {
	before, err := r.strays(wanted)
	if err != nil || len(before) == 0 {
		return err
	}
	timer := time.NewTimer(r.strayTime)
	defer timer.Stop()
	select {
	case <-timer.C: // nothing tells when a shim is given something to do
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := r.strays(wanted)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range now {
		if slices.Contains(before, s) {
			r.log.Info("ending a shim that serves nothing", zap.Int("pid", s.pid), zap.String("id", s.name))
			errs = append(errs, s.kill())
		}
	}
	return errors.Join(errs...)
}

// strayTime is how long a shim may take to begin or to end, and more.
const strayTime = 10 * time.Second

func (r *Runtime) strays(wanted func(types.UID) bool) ([]shim, error) {
	all, err := r.allShims()
	if err != nil {
		return nil, fmt.Errorf("shims: %w", err)
	}
	return stray(all, wanted), nil
}

// allShims are those of this containerd and namespace.
func (r *Runtime) allShims() ([]shim, error) {
	pids, err := ShimPIDs(r.opts.Address)
	if err != nil || len(pids) == 0 {
		return nil, err
	}
	parents := parentsOf()
	var out []shim
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // one that has ended has no arguments
		args := strings.Split(string(data), "\x00")
		if argument(args, "-namespace") != r.opts.Namespace {
			continue
		}
		if _, started, ok := stat(pid); ok {
			out = append(out, shim{pid: pid, started: started, name: argument(args, "-id"), busy: parents[pid]})
		}
	}
	return out, nil
}

func argument(args []string, flag string) string {
	for i := range len(args) - 1 {
		if args[i] == flag {
			return args[i+1]
		}
	}
	return ""
}

// parentsOf are the processes that have children.
func parentsOf() map[int]bool {
	out := map[int]bool{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well formed
	for _, path := range stats {
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			if parent, _, ok := stat(pid); ok {
				out[parent] = true
			}
		}
	}
	return out
}

// stat reads a process' parent and when it began, in the kernel's words.
func stat(pid int) (parent int, started string, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", false
	}
	// pid (name) state ppid ...: the name may hold anything.
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const parentAt, startedAt = 1, 19
	if len(fields) <= startedAt {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[parentAt])
	return parent, fields[startedAt], err == nil
}

// kill ends the shim, and no later process of its number.
func (s shim) kill() error {
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		if _, started, ok := stat(s.pid); !ok || started != s.started {
			return nil
		}
		err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end shim %d: %w", s.pid, err)
	}
	return nil
}

// shimsEnd is how long shims have that lost their last container.
const shimsEnd = 5 * time.Second

// EndShims ends what is left of the shims of a containerd whose containers have
// all been removed and that serves nobody else.
func EndShims(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, shimsEnd)
	defer cancel()
	tick := time.NewTicker(helperPoll)
	defer tick.Stop()
	for {
		pids, err := ShimPIDs(socket)
		if err != nil || len(pids) == 0 {
			return err
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		var errs []error
		for _, pid := range pids {
			if _, started, ok := stat(pid); ok {
				errs = append(errs, shim{pid: pid, started: started}.kill())
			}
		}
		return errors.Join(errs...)
	}
}
