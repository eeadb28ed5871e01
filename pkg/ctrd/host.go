package ctrd

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3"
	capability "github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/seccomp"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/selinux"
)

const cgroupRoot = "/sys/fs/cgroup"

// host is what this machine offers, as far as a container's spec depends on it.
type host struct {
	bootID   string
	cgroupV2 bool
	seccomp  bool
	// swap says that the kernel accounts swap per cgroup.
	swap bool
	// hugePages are the sizes of huge pages that the runtime can limit, in
	// bytes.
	hugePages []int64
	// minOOM is the lowest oom_score_adj that a container can be given.
	minOOM int
	// capabilities are those that this process, and so a containerd beside
	// it, can hand on; nil where they cannot be read.
	capabilities []string
	// appArmor says that profiles confine processes.
	appArmor bool
	// contexts are the SELinux labels that the node's policy has for
	// containers; nil where there are none.
	contexts *selinux.Contexts
}

func thisHost() host {
	h := host{
		cgroupV2: cgroups.Mode() == cgroups.Unified,
		seccomp:  seccomp.IsEnabled(),
		minOOM:   -1000,
		appArmor: SecurityModules().AppArmor,
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		h.bootID = strings.TrimSpace(string(b))
	}
	if names, err := capability.Current(); err == nil {
		h.capabilities = names
	}
	h.swap = swapAccounting(h.cgroupV2)
	if limitsHugePages(h.cgroupV2) {
		h.hugePages = HugePageSizes("/sys/kernel/mm/hugepages")
	}
	if !hasSysResource() {
		h.minOOM = readInt("/proc/self/oom_score_adj", 0)
	}
	return h
}

func swapAccounting(v2 bool) bool {
	if !v2 {
		_, err := os.Stat(filepath.Join(cgroupRoot, "memory/memory.memsw.limit_in_bytes"))
		return err == nil
	}
	// The root cgroup has no limits; look where this process is.
	_, own, err := cgroups.ParseCgroupFileUnified("/proc/self/cgroup")
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(cgroupRoot, own, "memory.swap.max"))
	return err == nil
}

// hasSysResource tells whether this process, and so a containerd beside it, may
// lower an oom_score_adj below the one it was started with.
func hasSysResource() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func readInt(path string, otherwise int) int {
	b, err := os.ReadFile(path) //nolint:gosec // a kernel file
	if err != nil {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return otherwise
	}
	return n
}

// ScopePrefix begins the names of containers' scopes where systemd makes them.
const ScopePrefix = "carob"

// cgroupsPath is the container's cgroup in the form that the OCI spec wants:
// a path, or slice:prefix:name where the parent is a systemd slice.
func cgroupsPath(parent, id string) (path string, systemd bool) {
	if strings.HasSuffix(parent, ".slice") {
		return filepath.Base(parent) + ":" + ScopePrefix + ":" + id, true
	}
	return filepath.Join("/", parent, id), false
}

// cgroupDir is where the memory counters of a cgroupsPath are.
func cgroupDir(v2 bool, path string) string {
	if parts := strings.Split(path, ":"); len(parts) == 3 {
		path = filepath.Join(expandSlice(parts[0]), parts[1]+"-"+parts[2]+".scope")
	}
	if v2 {
		return filepath.Join(cgroupRoot, path)
	}
	return filepath.Join(cgroupRoot, "memory", path)
}

// expandSlice turns a-b.slice into a.slice/a-b.slice, as systemd lays it out.
func expandSlice(slice string) string {
	name := strings.TrimSuffix(slice, ".slice")
	if name == "-" || name == "" {
		return ""
	}
	var path, prefix string
	for part := range strings.SplitSeq(name, "-") {
		prefix += part
		path = filepath.Join(path, prefix+".slice")
		prefix += "-"
	}
	return path
}

// oomKills counts the processes that the kernel killed in a cgroup for its
// memory limit; 0 where the counter cannot be read.
func oomKills(v2 bool, path string) int {
	if path == "" {
		return 0
	}
	file := "memory.oom_control"
	if v2 {
		file = "memory.events"
	}
	f, err := os.Open(filepath.Join(cgroupDir(v2, path), file))
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if key != "oom_kill" {
			continue
		}
		if n, err := strconv.Atoi(value); err == nil {
			return n
		}
	}
	return 0
}

// limitsHugePages says whether runtimes find the controller of huge pages. They
// do not look for it in a v2 hierarchy beside v1 ones.
func limitsHugePages(v2 bool) bool {
	if !v2 {
		_, err := os.Stat(filepath.Join(cgroupRoot, "hugetlb"))
		return err == nil
	}
	b, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(b)), "hugetlb")
}

// HugePageSizes reads the sizes of huge pages that the kernel has, in bytes.
func HugePageSizes(dir string) []int64 {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var sizes []int64
	for _, e := range entries {
		kib, ok := strings.CutPrefix(e.Name(), "hugepages-")
		if n, err := strconv.ParseInt(strings.TrimSuffix(kib, "kB"), 10, 64); ok && err == nil {
			sizes = append(sizes, n<<10)
		}
	}
	return sizes
}
