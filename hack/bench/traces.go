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
	cgroups, paths, tables, chains []string
}

func listTraces(ctx context.Context) traces {
	t := traces{cgroups: podmanCgroups(), paths: podmanPaths()}
	for _, name := range iptablesTables(ctx) {
		rules, err := nft(ctx, "list", "table", name)
		if err != nil {
			continue
		}
		if onlyPodman(rules) {
			t.tables = append(t.tables, name)
		}
		for _, chain := range podmanChains(rules) {
			t.chains = append(t.chains, name+" "+chain)
		}
	}
	return t
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
		_, err := nft(ctx, "delete", "table", t)
		errs = append(errs, err)
	}
	// Those in tables that somebody else uses too.
	chains := since(before.chains, listTraces(ctx).chains)
	for _, c := range chains {
		errs = append(errs, unlinkChain(ctx, c))
	}
	for _, c := range chains {
		_, err := nft(ctx, "delete", "chain", c)
		errs = append(errs, err)
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

// nft runs nft with arguments that may have spaces between their parts.
func nft(ctx context.Context, args ...string) (string, error) {
	args = strings.Fields(strings.Join(args, " "))
	out, err := exec.CommandContext(ctx, "nft", args...).Output()
	if err != nil {
		return "", fmt.Errorf("nft %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// iptablesTables returns the tables that iptables keeps, each with its family.
func iptablesTables(ctx context.Context) []string {
	out, err := nft(ctx, "list", "tables")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 3 && (f[1] == "ip" || f[1] == "ip6") && slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, f[2]) {
			all = append(all, f[1]+" "+f[2])
		}
	}
	return all
}

const podmanPrefix = "NETAVARK"

// podmanChains returns podman's chains in a table as nft lists it.
func podmanChains(table string) []string {
	var all []string
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "chain" && strings.HasPrefix(f[1], podmanPrefix) {
			all = append(all, f[1])
		}
	}
	return all
}

// unlinkChain empties a chain, given as family, table and name, and removes
// the rules that lead to it.
func unlinkChain(ctx context.Context, c string) error {
	if _, err := nft(ctx, "flush", "chain", c); err != nil {
		return err
	}
	table, name := c[:strings.LastIndexByte(c, ' ')], c[strings.LastIndexByte(c, ' ')+1:]
	rules, err := nft(ctx, "--handle", "list", "table", table)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range jumps(rules, name) {
		_, err := nft(ctx, "delete", "rule", table, r)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// jumps returns the rules that lead to a chain, as "<chain> handle <number>",
// from a table as nft lists it with handles.
func jumps(table, to string) []string {
	var all []string
	in := ""
	for line := range strings.Lines(table) {
		rule, handle, _ := strings.Cut(line, " # handle ")
		f := strings.Fields(rule)
		switch {
		case len(f) > 1 && f[0] == "chain":
			in = f[1]
		case len(f) > 1 && handle != "" && f[len(f)-2] == "jump" && f[len(f)-1] == to:
			all = append(all, in+" handle "+strings.TrimSpace(handle))
		}
	}
	return all
}

// onlyPodman says whether there is nothing in a table but podman's chains and
// the built-in ones that lead to them, or nothing at all.
func onlyPodman(table string) bool {
	builtIn := []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
	inOwn := false
	for line := range strings.Lines(table) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		switch {
		case line == "" || line == "}" || fields[0] == "table" || fields[0] == "type" || fields[0] == "#":
		case fields[0] == "chain" && len(fields) > 1:
			inOwn = strings.HasPrefix(fields[1], podmanPrefix)
			if !inOwn && !slices.Contains(builtIn, fields[1]) {
				return false
			}
		case !inOwn && !strings.Contains(line, podmanPrefix):
			return false
		}
	}
	return true
}
