package nodestatus

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const hugePagesDir = "/sys/kernel/mm/hugepages"

// Facts are readings of a machine at one instant. Sizes are in bytes.
type Facts struct {
	CPUs            int
	MemoryTotal     int64
	MemoryAvailable int64
	// Disk readings are of the file system that holds the data directory.
	DiskTotal     int64
	DiskAvailable int64
	InodesTotal   int64
	InodesFree    int64
	// PIDMax is how many tasks the kernel allows, PIDs how many there are.
	PIDMax int64
	// HugePages are the bytes set aside for huge pages, by their size.
	HugePages map[int64]int64
	PIDs      int64

	Hostname   string
	MachineID  string
	SystemUUID string
	BootID     string
	Kernel     string
	OSImage    string
	// InUserNamespace: root of the agent is not that of the machine.
	InUserNamespace bool
}

// Source supplies Facts.
type Source interface {
	Facts(ctx context.Context) (Facts, error)
}

// Machine reads the facts of the machine it runs on.
type Machine struct {
	// Root is prepended to /proc, /sys and /etc; empty on a real machine.
	Root string
	// DataDir is a directory on the file system that pods fill.
	DataDir string
}

// Facts implements Source. Identifiers that the machine lacks stay empty;
// memory, disk and process readings are required.
func (m Machine) Facts(context.Context) (Facts, error) {
	f := Facts{
		CPUs:       runtime.NumCPU(),
		MachineID:  m.line("/etc/machine-id"),
		SystemUUID: m.line("/sys/class/dmi/id/product_uuid"),
		BootID:     m.line("/proc/sys/kernel/random/boot_id"),
		Kernel:     m.line("/proc/sys/kernel/osrelease"),
		// See user_namespaces(7): the initial namespace maps every ID to itself.
		InUserNamespace: strings.Join(strings.Fields(m.line("/proc/self/uid_map")), " ") != "0 0 4294967295",
		Hostname:        m.line("/proc/sys/kernel/hostname"),
	}
	if f.SystemUUID == "" {
		f.SystemUUID = f.MachineID
	}
	if b, err := os.ReadFile(m.path("/etc/os-release")); err == nil {
		f.OSImage = parseOSRelease(string(b))
	}
	if err := m.memory(&f); err != nil {
		return Facts{}, err
	}
	if err := m.processes(&f); err != nil {
		return Facts{}, err
	}
	f.HugePages = m.hugePages()
	if err := m.disk(&f); err != nil {
		return Facts{}, err
	}
	return f, nil
}

func (m Machine) path(p string) string { return filepath.Join(m.Root, p) }

// line returns the trimmed content of a one-line file, or "" without it.
func (m Machine) line(p string) string {
	b, err := os.ReadFile(m.path(p))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (m Machine) memory(f *Facts) error {
	b, err := os.ReadFile(m.path("/proc/meminfo"))
	if err != nil {
		return fmt.Errorf("reading memory: %w", err)
	}
	f.MemoryTotal, f.MemoryAvailable, err = parseMeminfo(string(b))
	return err
}

// hugePages are none on a kernel without them.
func (m Machine) hugePages() map[int64]int64 {
	entries, err := os.ReadDir(m.path(hugePagesDir))
	if err != nil {
		return nil
	}
	out := map[int64]int64{}
	for _, e := range entries {
		kib, ok := strings.CutPrefix(e.Name(), "hugepages-")
		size, err := strconv.ParseInt(strings.TrimSuffix(kib, "kB"), 10, 64)
		if !ok || err != nil || size <= 0 {
			continue
		}
		pages, err := strconv.ParseInt(m.line(filepath.Join(hugePagesDir, e.Name(), "nr_hugepages")), 10, 64)
		if err == nil && pages <= math.MaxInt64/1024/size {
			out[size*1024] = pages * size * 1024
		}
	}
	return out
}

func (m Machine) processes(f *Facts) error {
	limit := int64(math.MaxInt64)
	for _, p := range []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"} {
		n, err := strconv.ParseInt(m.line(p), 10, 64)
		if err != nil {
			return fmt.Errorf("reading %s: %w", p, err)
		}
		limit = min(limit, n)
	}
	f.PIDMax = limit
	n, err := parseLoadavg(m.line("/proc/loadavg"))
	f.PIDs = n
	return err
}

func (m Machine) disk(f *Facts) error {
	d, err := ReadDisk(m.DataDir)
	f.DiskTotal, f.DiskAvailable, f.InodesTotal, f.InodesFree = d.Total, d.Available, d.Inodes, d.InodesFree
	return err
}

// Disk is a file system, in bytes and inodes.
type Disk struct {
	Total, Available   int64
	Inodes, InodesFree int64
}

// ReadDisk reads the file system that holds path.
func ReadDisk(path string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Disk{}, fmt.Errorf("reading the file system of %s: %w", path, err)
	}
	size := uint64(max(st.Bsize, 1))
	return Disk{
		Total: bounded(st.Blocks * size), Available: bounded(st.Bavail * size),
		Inodes: bounded(st.Files), InodesFree: bounded(st.Ffree),
	}, nil
}

// OtherDisk says whether two paths lie on different file systems.
func OtherDisk(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Stat(a, &sa); err != nil {
		return false, fmt.Errorf("looking for %s: %w", a, err)
	}
	if err := unix.Stat(b, &sb); err != nil {
		return false, fmt.Errorf("looking for %s: %w", b, err)
	}
	return sa.Dev != sb.Dev, nil
}

func bounded(n uint64) int64 {
	return int64(min(n, math.MaxInt64)) //nolint:gosec // bounded above
}

// parseMeminfo returns the memory of /proc/meminfo in bytes, and what of it is
// free or file cache that would be given up first: what Kubernetes calls
// available.
func parseMeminfo(s string) (total, available int64, err error) {
	var free, inactive int64
	err = readMeminfo(s, map[string]*int64{"MemTotal": &total, "MemFree": &free, "Inactive(file)": &inactive})
	if err != nil {
		return 0, 0, err
	}
	return total, min(free+inactive, total), nil
}

// readMeminfo reads the wanted lines of /proc/meminfo, in bytes.
func readMeminfo(s string, want map[string]*int64) error {
	found := 0
	for l := range strings.Lines(s) {
		name, rest, ok := strings.Cut(l, ":")
		dst := want[name]
		fields := strings.Fields(rest)
		if !ok || dst == nil || len(fields) == 0 {
			continue
		}
		kib, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil || kib < 0 || kib > math.MaxInt64/1024 {
			return fmt.Errorf("meminfo: %s is %q: %w", name, fields[0], strconv.ErrSyntax)
		}
		*dst = kib * 1024
		found++
	}
	if found < len(want) {
		return fmt.Errorf("meminfo: one of %v is missing: %w", slices.Sorted(maps.Keys(want)), os.ErrNotExist)
	}
	return nil
}

// parseLoadavg returns the number of tasks that /proc/loadavg tells in its
// fourth field, running/total.
func parseLoadavg(s string) (int64, error) {
	fields := strings.Fields(s)
	if len(fields) < 4 {
		return 0, fmt.Errorf("loadavg: %q has too few fields: %w", s, strconv.ErrSyntax)
	}
	_, total, _ := strings.Cut(fields[3], "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("loadavg: %w", err)
	}
	return n, nil
}

// parseOSRelease returns PRETTY_NAME of an os-release file.
func parseOSRelease(s string) string {
	for l := range strings.Lines(s) {
		v, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME=")
		if !ok {
			continue
		}
		if u, err := strconv.Unquote(v); err == nil {
			return u
		}
		return strings.Trim(v, `'"`)
	}
	return ""
}
