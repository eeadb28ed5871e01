package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/config"
)

// lock takes the instance for this process. The kernel gives it back when the
// process ends, however it ends.
func lock(c config.Config) (release func(), err error) {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	// The users of a pod with a user namespace have to get through it to their
	// root file systems. What is in there is closed by itself.
	if err := os.MkdirAll(c.RunDir, 0o711); err != nil { // #nosec G301 -- to get through, not to look around
		return nil, fmt.Errorf("run-dir: %w", err)
	}
	f, err := os.OpenFile(c.LockFile(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data-dir: %s is in use by another carob (pid %s): stop it with `carob down`, or use another directory",
				c.DataDir, strings.TrimSpace(readFile(c.PIDFile())))
		}
		return nil, fmt.Errorf("lock %s: %w", c.LockFile(), err)
	}
	if err := os.WriteFile(c.PIDFile(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("run-dir: %w", err)
	}
	return func() {
		_ = os.Remove(c.PIDFile())
		_ = f.Close()
	}, nil
}

func readFile(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// running returns the process ID of the carob that serves the instance, or 0.
// The lock tells, not the PID file: that one outlives a kill.
func running(c config.Config) int {
	f, err := os.Open(c.LockFile())
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(c.PIDFile())))
	if err != nil {
		return 0
	}
	return pid
}

// stopRunning ends the carob that serves the instance, if one does, and waits
// for its end.
func stopRunning(ctx context.Context, c config.Config) error {
	pid := running(c)
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("carob, pid %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("carob, pid %d: %w", pid, err)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(time.Minute)
	}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("carob, pid %d, does not end: look at its log, or end it with kill -9 %d and try again", pid, pid)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("carob, pid %d: %w", pid, err)
		}
		if n > 0 {
			return nil
		}
	}
}

// removeInside removes what is in dir, and dir itself where it was carob's
// alone.
func removeInside(dir string, names ...string) error {
	var errs []error
	for _, n := range names {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, n)))
	}
	// A file system of its own stays, empty.
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
