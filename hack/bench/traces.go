package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// traces is what podman makes outside of the directories it was told to use:
// where it was there before, it is the user's, and stays.
type traces struct {
	cgroups, paths, tables []string
}

func listTraces(ctx context.Context) traces {
	return traces{cgroups: podmanCgroups(), paths: podmanPaths(), tables: podmanTables(ctx)}
}

// removeSince removes what has come since before was listed.
func removeSince(ctx context.Context, before traces) error {
	now := listTraces(ctx)
	var errs []error
	// The deepest first.
	for _, dir := range slices.Backward(since(before.cgroups, now.cgroups)) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	for _, p := range since(before.paths, now.paths) {
		errs = append(errs, os.RemoveAll(p))
	}
	for _, t := range since(before.tables, now.tables) {
		if err := exec.CommandContext(ctx, "nft", append([]string{"delete", "table"}, strings.Fields(t)...)...).Run(); err != nil {
			errs = append(errs, fmt.Errorf("delete table %s: %w", t, err))
		}
	}
	return errors.Join(errs...)
}

func since(before, now []string) []string {
	return slices.DeleteFunc(slices.Clone(now), func(s string) bool { return slices.Contains(before, s) })
}

// podmanCgroups returns the groups of podman's cgroupfs manager, parents
// before children. They are often left behind, empty.
func podmanCgroups() []string {
	var roots, all []string
	for _, pattern := range []string{"/sys/fs/cgroup/libpod_parent", "/sys/fs/cgroup/*/libpod_parent"} {
		found, _ := filepath.Glob(pattern) // the patterns are good
		roots = append(roots, found...)
	}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil // what is gone meanwhile is no concern
		})
	}
	return all
}

func podmanPaths() []string {
	var all []string
	for _, p := range []string{"/dev/shm/libpod_lock", "/run/containers", "/run/libpod", "/var/lib/containers"} {
		if _, err := os.Lstat(p); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// podmanTables returns the tables of iptables in which there is nothing but
// podman's chains and the built-in ones that lead to them, or nothing at all.
func podmanTables(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "nft", "list", "tables").Output()
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		t, ok := strings.CutPrefix(strings.TrimSpace(line), "table ")
		if family, name, _ := strings.Cut(t, " "); !ok || family != "ip" && family != "ip6" || !slices.Contains(iptablesTables, name) {
			continue
		}
		rules, err := exec.CommandContext(ctx, "nft", append([]string{"list", "table"}, strings.Fields(t)...)...).Output()
		if err == nil && onlyPodman(string(rules)) {
			all = append(all, t)
		}
	}
	return all
}

var iptablesTables = []string{"filter", "nat", "mangle", "raw", "security"}

// onlyPodman reads a table as nft lists it.
func onlyPodman(table string) bool {
	builtIn := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	inOwn := false
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		switch {
		case line == "" || line == "}" || fields[0] == "table" || fields[0] == "type" || fields[0] == "#":
		case fields[0] == "chain" && len(fields) > 1:
			inOwn = strings.HasPrefix(fields[1], "NETAVARK")
			if !inOwn && !slices.Contains(builtIn, fields[1]) {
				return false
			}
		case !inOwn && !strings.Contains(line, "NETAVARK"):
			return false
		}
	}
	return true
}
