package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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
// fields set nothing: a fresh group has no limit.
func settings(v Version, r pod.Resources) []setting {
	period := r.CPUPeriod
	if period == 0 {
		period = defaultPeriod
	}
	var out []setting
	add := func(controller, file, value string) {
		out = append(out, setting{controller, file, value})
	}
	if v == V2 {
		if r.CPUShares != 0 {
			add("cpu", "cpu.weight", strconv.FormatUint(weight(r.CPUShares), 10))
		}
		if r.CPUQuota > 0 {
			add("cpu", "cpu.max", fmt.Sprintf("%d %d", r.CPUQuota, period))
		}
		if r.MemoryLimit > 0 {
			add("memory", "memory.max", strconv.FormatInt(r.MemoryLimit, 10))
		}
		if r.PIDsLimit > 0 {
			add("pids", "pids.max", strconv.FormatInt(r.PIDsLimit, 10))
		}
		return out
	}
	if r.CPUShares != 0 {
		add("cpu", "cpu.shares", strconv.FormatUint(r.CPUShares, 10))
	}
	if r.CPUQuota > 0 {
		// The period first: the kernel checks the ratio with each write.
		add("cpu", "cpu.cfs_period_us", strconv.FormatUint(period, 10))
		add("cpu", "cpu.cfs_quota_us", strconv.FormatInt(r.CPUQuota, 10))
	}
	if r.MemoryLimit > 0 {
		add("memory", "memory.limit_in_bytes", strconv.FormatInt(r.MemoryLimit, 10))
	}
	if r.PIDsLimit > 0 {
		add("pids", "pids.max", strconv.FormatInt(r.PIDsLimit, 10))
	}
	return out
}

// weight maps cpu shares (2 to 262144) to a v2 weight (1 to 10000), linearly
// as the Kubernetes enhancement for cgroup v2 defines it.
func weight(shares uint64) uint64 {
	s := min(max(shares, 2), 262144)
	return 1 + ((s-2)*9999)/262142
}

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

// read reads one control file, trimmed.
func read(dir, file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, file))
	return strings.TrimSpace(string(b)), err
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
