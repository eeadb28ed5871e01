package main

import (
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

// meter is a control group around a program and all that it starts. It counts
// the CPU time of all of them, also of those that have ended.
type meter struct {
	dir string
	v2  bool
	// containers is the group of the program's containers, which leave ours.
	containers string
}

const cgroupRoot = "/sys/fs/cgroup"

// newMeter makes a group; the containers' group, relative to the root, is
// counted with it.
func newMeter(name, containers string) (*meter, error) {
	root := filepath.Join(cgroupRoot, "cpuacct")
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	v2 := err == nil
	if v2 {
		root = cgroupRoot
	}
	m := &meter{dir: filepath.Join(root, name), v2: v2, containers: filepath.Join(root, containers)}
	if err := os.Mkdir(m.dir, 0o750); err != nil {
		return nil, fmt.Errorf("a group to count CPU time in: %w", err)
	}
	return m, nil
}

// wrap returns a command line that runs another one inside the group, under
// the same process ID.
func (m *meter) wrap(args ...string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(m.dir, "cgroup.procs")}, args...)
}

// cpu is what all of them have used together.
func (m *meter) cpu() (time.Duration, error) {
	own, err := m.ownCPU()
	if err != nil {
		return 0, err
	}
	theirs, err := m.cpuOf(m.containers)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // no container yet
	}
	return own + theirs, err
}

// ownCPU is that without the containers.
func (m *meter) ownCPU() (time.Duration, error) { return m.cpuOf(m.dir) }

func (m *meter) cpuOf(dir string) (time.Duration, error) {
	if !m.v2 {
		n, err := readInt(filepath.Join(dir, "cpuacct.usage"))
		return time.Duration(n), err
	}
	data, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(n) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("%s/cpu.stat: no usage_usec", dir)
}

// pids are the processes in the group now: the program and what it started,
// without the containers.
func (m *meter) pids() ([]int, error) {
	data, err := os.ReadFile(filepath.Join(m.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, f := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	return all, nil
}

// byProgram sums up a value of all processes in the group by the name of their
// program. What has ended meanwhile is left out.
func (m *meter) byProgram(of func(pid int) (int64, error)) (byProgram, error) {
	pids, err := m.pids()
	if err != nil {
		return nil, err
	}
	all := byProgram{}
	for _, pid := range pids {
		name := commandOf(pid)
		n, err := of(pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
		all[name] += n
	}
	return all, nil
}

// ticks is the CPU time that the processes in the group have used, in
// hundredths of a second.
func (m *meter) ticks() (byProgram, error) { return m.byProgram(ticksOf) }

func (m *meter) destroy() error { return removeGroup(m.dir) }

// removeGroup removes a group and those below it. Processes may take a moment
// to leave.
func removeGroup(root string) error {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what is gone meanwhile is no concern
	})
	for _, dir := range slices.Backward(dirs) {
		var err error
		for range 50 {
			if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

// removeGroups removes the groups of a name from all hierarchies.
func removeGroups(name string) error {
	var errs []error
	_ = filepath.WalkDir(cgroupRoot, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == name {
			errs = append(errs, removeGroup(path))
			return filepath.SkipDir
		}
		return nil
	})
	return errors.Join(errs...)
}

func readInt(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}
