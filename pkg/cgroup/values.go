package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// defaultPeriod is the kernel's CPU bandwidth period in microseconds.
const defaultPeriod = 100_000

// setting is one value in one control file.
type setting struct {
	controller string
	file       string
	value      string
}

// settings turns the resources of a pod into the files of one version. Zero
// fields set nothing: a fresh group has no limit. pod.Unlimited takes one away.
func settings(v Version, r pod.Resources) []setting {
	period := cmp.Or(r.CPUPeriod, defaultPeriod)
	var out []setting
	add := func(controller, file, value string) {
		out = append(out, setting{controller, file, value})
	}
	if v == V2 {
		if r.CPUShares != 0 {
			add("cpu", "cpu.weight", strconv.FormatUint(pod.CPUWeight(r.CPUShares), 10))
		}
		if r.CPUQuota != 0 {
			add("cpu", "cpu.max", fmt.Sprintf("%s %d", orMax(r.CPUQuota), period))
		}
		if r.MemoryLimit != 0 {
			add("memory", "memory.max", orMax(r.MemoryLimit))
		}
		qos := pod.MemoryFiles(r)
		for _, file := range slices.Sorted(maps.Keys(qos)) {
			add("memory", file, qos[file])
		}
		if r.PIDsLimit > 0 {
			add("pids", "pids.max", strconv.FormatInt(r.PIDsLimit, 10))
		}
		return out
	}
	if r.CPUShares != 0 {
		add("cpu", "cpu.shares", strconv.FormatUint(r.CPUShares, 10))
	}
	if r.CPUQuota != 0 {
		// The period first: the kernel checks the ratio with each write.
		add("cpu", "cpu.cfs_period_us", strconv.FormatUint(period, 10))
		add("cpu", "cpu.cfs_quota_us", strconv.FormatInt(r.CPUQuota, 10))
	}
	if r.MemoryLimit != 0 {
		add("memory", "memory.limit_in_bytes", strconv.FormatInt(r.MemoryLimit, 10))
	}
	if r.PIDsLimit > 0 {
		add("pids", "pids.max", strconv.FormatInt(r.PIDsLimit, 10))
	}
	return out
}

// orMax is a limit as files of v2 have it.
func orMax(n int64) string {
	if n < 0 {
		return unlimited
	}
	return strconv.FormatInt(n, 10)
}

// unlimited is what files of v2 say where there is no limit.
const unlimited = "max"

// write writes one control file; the error names the file and the value.
func write(dir, file, value string) error {
	p := filepath.Join(dir, file)
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %q to %s: %w", value, p, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, p, err)
	}
	return nil
}

// read reads one control file, trimmed. It is called for every container of
// the node from time to time, so that it does without the runtime's poller,
// for which such a file is never not ready.
func read(dir, file string) (string, error) {
	p := filepath.Join(dir, file)
	fd, err := retry(func() (int, error) { return unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: p, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var all []byte
	var buf [4096]byte
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[:]) })
		if err != nil {
			return "", &fs.PathError{Op: "read", Path: p, Err: err}
		}
		if n == 0 {
			return strings.TrimSpace(string(all)), nil
		}
		all = append(all, buf[:n]...)
	}
}

// retry calls what a signal may interrupt.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// inheritCPUSet fills an empty v1 cpuset from its parent: no process can enter
// a group without CPUs and memory nodes.
func inheritCPUSet(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := read(dir, file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if have != "" {
			continue
		}
		parent, err := read(filepath.Dir(dir), file)
		if err != nil {
			return err
		}
		if err := write(dir, file, parent); err != nil {
			return err
		}
	}
	return nil
}

// delegate enables in dir every controller that containers use and that dir
// itself has (v2).
func delegate(dir string) error {
	have, err := read(dir, "cgroup.controllers")
	if err != nil {
		return err
	}
	on, err := read(dir, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	enabled := strings.Fields(on)
	for c := range strings.FieldsSeq(have) {
		if !delegated(c) || slices.Contains(enabled, c) {
			continue
		}
		if err := write(dir, "cgroup.subtree_control", "+"+c); err != nil {
			return fmt.Errorf("enable controller %s for children: %w", c, err)
		}
	}
	return nil
}

func delegated(controller string) bool {
	return slices.Contains([]string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}, controller)
}
