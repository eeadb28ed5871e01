package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// footprint is the memory of a process, in KiB.
type footprint struct{ rss, pss int64 }

func memoryOf(pid int) (footprint, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return footprint{}, err
	}
	defer func() { _ = f.Close() }()
	var m footprint
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "Rss:":
			m.rss = n
		case "Pss:":
			m.pss = n
		}
	}
	return m, nil
}

// wroteOf is what a process has written to anything, in bytes.
func wroteOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "wchar: "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io: no wchar", pid)
}

// ticksOf is the CPU time that a process has used, in hundredths of a second:
// USER_HZ is the same on every architecture that Go supports.
func ticksOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return user + system, errors.Join(err1, err2)
}

// commandOf is the name of a process's program, empty where it has ended.
func commandOf(pid int) string {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(args), "\x00")
	return filepath.Base(name)
}

// processesOf finds what runs for a pod, as the kernel shows it: the processes
// in its control group, and its shims, which name it.
func processesOf(uid string) (containers, shims []int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, nil, err
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		cgroup, errGroup := os.ReadFile(dir + "/cgroup")
		args, errArgs := os.ReadFile(dir + "/cmdline")
		switch {
		case errGroup != nil || errArgs != nil: // it has ended
		case strings.Contains(string(cgroup), uid):
			containers = append(containers, pid)
		case strings.Contains(string(args), "\x00"+uid+"-"):
			shims = append(shims, pid)
		}
	}
	return containers, shims, nil
}

// ends is a set of processes whose end can be awaited.
type ends []unix.PollFd

// watchEnds holds on to processes, so that a number that is given anew is not
// taken for one of them.
func watchEnds(pids []int) (ends, error) {
	var e ends
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			e.close()
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		e = append(e, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return e, nil
}

func (e ends) close() {
	for _, p := range e {
		_ = unix.Close(int(p.Fd))
	}
}

// await returns when all have ended.
func (e ends) await(ctx context.Context) error {
	for _, p := range e {
		for {
			n, err := unix.Poll([]unix.PollFd{p}, 100)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			if n > 0 {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("a process of a deleted pod runs on: %w", ctx.Err())
			}
		}
	}
	return nil
}
