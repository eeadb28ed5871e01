package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/carob-project/carob/pkg/pod"
)

const hugetlb = "hugetlb"

// LimitsHugePages says whether this machine can limit huge pages by group.
func (i Info) LimitsHugePages() bool {
	root, _ := i.hugetlb()
	return root != ""
}

// hugetlb returns the hierarchy that limits huge pages, and which version its
// files have. Beside v1 hierarchies it can be the v2 one.
func (i Info) hugetlb() (root string, v Version) {
	if root = i.Mounts[hugetlb]; root != "" {
		return root, V1
	}
	if i.Unified == "" {
		return "", 0
	}
	have, err := read(i.Unified, "cgroup.controllers")
	if err != nil || !slices.Contains(strings.Fields(have), hugetlb) {
		return "", 0
	}
	return i.Unified, V2
}

// limitHugePages sets what a new pod may have: nothing of a size that it does
// not ask for.
func (m *Manager) limitHugePages(name string, r pod.Resources) error {
	root, v := m.info.hugetlb()
	if root == "" {
		return nil
	}
	dir := m.dir(root, name)
	if m.info.Version == V1 && v == V2 {
		if err := makeWith(root, dir, hugetlb); err != nil {
			return err
		}
	}
	names, err := pageNames(dir, v)
	if err != nil {
		return err
	}
	for _, s := range hugePageSettings(v, names, r.HugePages) {
		// A reservation is refused where a fault would end the process; older
		// kernels know faults only.
		err := write(dir, s.file, s.value)
		older := strings.Contains(s.file, ".rsvd.") && errors.Is(err, fs.ErrNotExist)
		if err != nil && !older {
			return err
		}
	}
	return nil
}

// hugePageSettings are the files for the sizes that the kernel has.
func hugePageSettings(v Version, names []string, allowed map[int64]int64) []setting {
	given := map[string]int64{}
	for size, bytes := range allowed {
		given[pod.HugePageName(size)] = bytes
	}
	file := map[Version]string{V1: "limit_in_bytes", V2: "max"}[v]
	var out []setting
	for _, name := range names {
		value := strconv.FormatInt(given[name], 10)
		out = append(out, setting{hugetlb, fmt.Sprintf("hugetlb.%s.rsvd.%s", name, file), value},
			setting{hugetlb, fmt.Sprintf("hugetlb.%s.%s", name, file), value})
	}
	return out
}

// pageNames are the sizes for which a group has limits.
func pageNames(dir string, v Version) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, e := range entries {
		parts := strings.Split(e.Name(), ".")
		if len(parts) == 3 && parts[0] == hugetlb && parts[2] == map[Version]string{V1: "limit_in_bytes", V2: "max"}[v] {
			found[parts[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// makeWith makes a group and all above it in a v2 hierarchy that has only some
// controllers, and hands one of these down to it.
func makeWith(root, dir, controller string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // cgroup readers need no privilege
		return err
	}
	below, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	at := root
	for part := range strings.SplitSeq(below, "/") {
		on, err := read(at, "cgroup.subtree_control")
		if err != nil {
			return err
		}
		if !slices.Contains(strings.Fields(on), controller) {
			if err := write(at, "cgroup.subtree_control", "+"+controller); err != nil {
				return err
			}
		}
		at = filepath.Join(at, part)
	}
	return nil
}
