package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removeWait bounds how long a removal waits for killed processes to leave.
const removeWait = 10 * time.Second

// retryPause is the poll interval for what sends no event: a group stays busy
// for an instant after its last process has ended.
const retryPause = 5 * time.Millisecond

// Remove kills what still runs in the group of that name and below it, and
// removes it from every hierarchy. An unknown group is no error. An error
// wraps ErrBusy where processes refuse to go.
func (m *Manager) Remove(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeWait)
	defer cancel()
	if err := m.removeTree(ctx, name); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", m.ParentFor(name), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.balance(ctx)
	return nil
}

// RemoveRoot removes everything of this instance, with all processes in it.
func (m *Manager) RemoveRoot(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, removeWait)
	defer cancel()
	if err := m.removeTree(ctx, ""); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", m.root, err)
	}
	return nil
}

// removeTree removes name and all below it, in every hierarchy. One hierarchy
// that fails does not keep the others.
func (m *Manager) removeTree(ctx context.Context, name string) error {
	var errs []error
	var dirs []string
	for _, h := range m.info.roots() {
		below, err := subtree(m.dir(h, name))
		if err != nil {
			errs = append(errs, err)
		}
		dirs = append(dirs, below...)
	}
	if err := m.kill(ctx, dirs); err != nil {
		return errors.Join(append(errs, err)...) // nothing of it can go
	}
	if m.systemd != nil && len(dirs) > 0 {
		errs = append(errs, m.stopSlices(ctx, dirs))
	}
	// Deepest first: subtree lists parents before children.
	for _, dir := range slices.Backward(dirs) {
		errs = append(errs, rmdir(ctx, dir))
	}
	return errors.Join(errs...)
}

// stopSlices ends the slices of the directories, innermost first.
func (m *Manager) stopSlices(ctx context.Context, dirs []string) error {
	var names []string
	for _, dir := range dirs {
		if base := filepath.Base(dir); strings.HasSuffix(base, ".slice") && !slices.Contains(names, base) {
			names = append(names, base)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	var errs []error
	for _, n := range names {
		errs = append(errs, m.systemd.stop(ctx, n))
	}
	return errors.Join(errs...)
}

// subtree lists dir and all groups below it, parents first.
func subtree(dir string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
		}
		return nil
	})
	return dirs, err
}

// kill ends every process in the directories and waits until they are gone.
func (m *Manager) kill(ctx context.Context, dirs []string) error {
	thaw(dirs)
	// A process that forks while it is being killed shows up in the next
	// round; the context bounds how many there are.
	for {
		n, err := killOnce(ctx, dirs)
		if err != nil || n == 0 {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
}

// thaw lets frozen processes receive their signal. Most directories have no
// such file, and a thawed one needs no write, so errors mean nothing.
func thaw(dirs []string) {
	for _, dir := range dirs {
		_ = write(dir, "freezer.state", "THAWED")
		_ = write(dir, "cgroup.freeze", "0")
	}
}

// killOnce kills the processes that it finds and waits for their end. It
// returns how many there were.
func killOnce(ctx context.Context, dirs []string) (int, error) {
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, dir := range dirs {
		for _, pid := range procs(dir) {
			if pid == os.Getpid() {
				return 0, fmt.Errorf("%w: carob itself is in %s", ErrBusy, dir)
			}
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // ended
			}
			fds = append(fds, fd)
			// The number may have been given to another process between the
			// read and the open: only one that is still listed is ours.
			if slices.Contains(procs(dir), pid) {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // ESRCH: ended
			}
		}
	}
	for _, fd := range fds {
		if err := awaitExit(ctx, fd); err != nil {
			return len(fds), err
		}
	}
	return len(fds), nil
}

// awaitExit waits until the process of a pidfd has ended.
func awaitExit(ctx context.Context, fd int) error {
	for {
		wait := 100 * time.Millisecond
		if deadline, ok := ctx.Deadline(); ok {
			wait = min(wait, time.Until(deadline))
		}
		if ctx.Err() != nil || wait <= 0 {
			return fmt.Errorf("%w: a killed process does not end", ErrBusy)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for a killed process: %w", err)
		}
	}
}

// procs lists the processes in one group, without those below it. On v2 a
// threaded group refuses the read; its processes show in its parent.
func procs(dir string) []int {
	text, err := read(dir, "cgroup.procs")
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(text) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// rmdir removes one empty group, again while the kernel still calls it busy.
func rmdir(ctx context.Context, dir string) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("rmdir %s: %w", dir, err)
		}
		timer.Reset(retryPause)
		select {
		case <-ctx.Done():
			return fmt.Errorf("rmdir %s: %w: %w", dir, ErrBusy, ctx.Err())
		case <-timer.C:
		}
	}
}
