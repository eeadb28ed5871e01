package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Driver says who makes the groups.
type Driver string

// The drivers, by the names that users of Kubernetes know.
const (
	// Cgroupfs makes directories.
	Cgroupfs Driver = "cgroupfs"
	// Systemd asks systemd for slices, which own the directories.
	Systemd Driver = "systemd"
)

// Version is the version of the cgroup interface that holds the controllers.
type Version int

// The versions.
const (
	V1 Version = 1
	V2 Version = 2
)

// Errors of this package.
var (
	// ErrNoCgroups: no usable hierarchy is mounted.
	ErrNoCgroups = errors.New("no cgroup hierarchy with the cpu and memory controllers is mounted")
	// ErrName: the name does not lie below the instance's root.
	ErrName = errors.New("invalid cgroup name")
	// ErrBusy: a group could not be removed because processes stay in it.
	ErrBusy = errors.New("cgroup is busy")
)

// Info is what a machine offers.
type Info struct {
	Version Version
	// Hybrid says that v1 holds the controllers and a v2 hierarchy is
	// mounted beside them.
	Hybrid bool
	// Mounts has the mount point of each v1 controller, named hierarchies
	// as "name=...". It is empty on v2.
	Mounts map[string]string
	// Unified is the mount point of the v2 hierarchy, or empty.
	Unified string
	// Driver is what this machine should use; a user may set the other.
	Driver Driver
}

// Detect reads which hierarchies are mounted and who manages them.
func Detect() (Info, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return Info{}, fmt.Errorf("read the mount table: %w", err)
	}
	// The documented test for a booted systemd, sd_booted(3).
	_, err = os.Stat("/run/systemd/system")
	return detect(mounts, err == nil)
}

// detect decides from the mounts of type cgroup and cgroup2.
func detect(mounts []*mountinfo.Info, systemd bool) (Info, error) {
	info := Info{Mounts: map[string]string{}, Driver: Cgroupfs}
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if info.Unified == "" {
				info.Unified = m.Mountpoint
			}
			continue
		}
		for option := range strings.SplitSeq(m.VFSOptions, ",") {
			if _, seen := info.Mounts[option]; !seen && isController(option) {
				info.Mounts[option] = m.Mountpoint
			}
		}
	}
	_, cpu := info.Mounts["cpu"]
	_, memory := info.Mounts["memory"]
	switch {
	case cpu && memory:
		info.Version, info.Hybrid = V1, info.Unified != ""
	case info.Unified != "":
		info.Version, info.Mounts = V2, map[string]string{}
	default:
		return Info{}, ErrNoCgroups
	}
	if systemd {
		info.Driver = Systemd
	}
	return info, nil
}

// isController tells a controller or named hierarchy from the other options
// of a v1 mount.
func isController(option string) bool {
	return strings.HasPrefix(option, "name=") || slices.Contains([]string{
		"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
		"hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc",
	}, option)
}

// roots returns the distinct mount points of all hierarchies, sorted: several
// v1 controllers can share one.
func (i Info) roots() []string {
	var roots []string
	for _, m := range i.Mounts {
		roots = append(roots, m)
	}
	if i.Unified != "" {
		roots = append(roots, i.Unified)
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}

// controlRoots are the hierarchies in which groups are made ahead of the
// runtime: all that limit something. The others only get what the runtime
// makes there.
func (i Info) controlRoots() []string {
	if i.Version == V2 {
		return []string{i.Unified}
	}
	var roots []string
	for name, m := range i.Mounts {
		if !strings.HasPrefix(name, "name=") {
			roots = append(roots, m)
		}
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}
