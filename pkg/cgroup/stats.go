package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// Stats is what a group has used.
type Stats struct {
	// MemoryUsage in bytes, page cache included; MemoryWorkingSet leaves the
	// inactive file cache out.
	MemoryUsage      uint64
	MemoryWorkingSet uint64
	// CPUUsage is in nanoseconds since the group was made.
	CPUUsage uint64
	// OOMKills counts the processes that the kernel killed for memory, those
	// of groups below included on v2 only.
	OOMKills uint64
	// PIDs are the processes and threads, those of groups below included.
	PIDs uint64
}

// Stats reads the counters of a pod's group. It returns an error that wraps
// fs.ErrNotExist where there is no such group.
func (m *Manager) Stats(name string) (Stats, error) {
	if err := checkName(name); err != nil {
		return Stats{}, err
	}
	return m.stats(func(hierarchy string) string { return m.dir(hierarchy, name) })
}

// ContainerStats reads the counters of a container's group below the group of
// its pod. With systemd that is a scope whose name begins with prefix.
func (m *Manager) ContainerStats(name, prefix, id string) (Stats, error) {
	dir, err := m.containerDir(name, prefix, id)
	if err != nil {
		return Stats{}, err
	}
	return m.stats(dir)
}

// containerDir finds the group of a container in a hierarchy.
func (m *Manager) containerDir(name, prefix, id string) (func(hierarchy string) string, error) {
	leaf := id
	if m.info.Driver == Systemd {
		leaf = prefix + "-" + id + ".scope"
	}
	for _, n := range []string{name, leaf} {
		if err := checkName(n); err != nil {
			return nil, err
		}
	}
	return func(hierarchy string) string { return filepath.Join(m.dir(hierarchy, name), leaf) }, nil
}

// stats reads the group that dir finds in a hierarchy.
func (m *Manager) stats(dir func(hierarchy string) string) (Stats, error) {
	if m.info.Version == V2 {
		return statsV2(dir(m.info.Unified))
	}
	return m.statsV1(dir)
}

func (m *Manager) statsV1(dir func(hierarchy string) string) (Stats, error) {
	memory := dir(m.info.Mounts["memory"])
	var s Stats
	usage, err := number(memory, "memory.usage_in_bytes")
	if err != nil {
		return s, fmt.Errorf("read cgroup: %w", err)
	}
	s.MemoryUsage = usage
	s.MemoryWorkingSet = workingSet(usage, keyed(memory, "memory.stat", "total_inactive_file"))
	s.OOMKills = keyed(memory, "memory.oom_control", "oom_kill")
	if pids, ok := m.info.Mounts["pids"]; ok {
		s.PIDs, _ = number(dir(pids), "pids.current") // 0 where the kernel does not count
	}
	if acct, ok := m.info.Mounts["cpuacct"]; ok {
		s.CPUUsage, err = number(dir(acct), "cpuacct.usage")
		if err != nil {
			return s, fmt.Errorf("read cgroup: %w", err)
		}
	}
	return s, nil
}

func statsV2(dir string) (Stats, error) {
	var s Stats
	usage, err := number(dir, "memory.current")
	if err != nil {
		return s, fmt.Errorf("read cgroup: %w", err)
	}
	s.MemoryUsage = usage
	s.MemoryWorkingSet = workingSet(usage, keyed(dir, "memory.stat", "inactive_file"))
	s.OOMKills = keyed(dir, "memory.events", "oom_kill")
	s.PIDs, _ = number(dir, "pids.current") // 0 where the kernel does not count
	s.CPUUsage = keyed(dir, "cpu.stat", "usage_usec") * 1000
	return s, nil
}

func workingSet(usage, inactive uint64) uint64 {
	if inactive > usage {
		return 0
	}
	return usage - inactive
}

// number reads a file that holds one number.
func number(dir, file string) (uint64, error) {
	text, err := read(dir, file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// keyed reads one line of a file of "key value" lines; 0 where it is absent,
// as on kernels that do not count it.
func keyed(dir, file, key string) uint64 {
	text, err := read(dir, file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseUint(v, 10, 64) // 0 where it is no number
			return n
		}
	}
	return 0
}

// IsGone says that an error means there is no such group.
func IsGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
