package ctrd

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// descent is what /proc says about where a process comes from.
type descent struct {
	pid, parent, session int
}

// killTree kills a process that was executed in a container and everything it
// started: its descendants, and what of its session has lost its parents. They
// are stopped first, so that none of them can start another one unseen.
func killTree(pid int) {
	if pid <= 1 {
		return
	}
	found := map[int]bool{}
	for range 100 {
		fresh := descendants(processes(), pid, found)
		for _, p := range fresh {
			found[p] = true
			_ = syscall.Kill(p, syscall.SIGSTOP) // it may have ended
		}
		if len(fresh) == 0 {
			break
		}
	}
	for p := range found {
		_ = syscall.Kill(p, syscall.SIGKILL) // it may have ended
	}
}

// descendants returns those of the processes that belong to the tree of pid and
// were not known before.
func descendants(all []descent, pid int, known map[int]bool) []int {
	var fresh []int
	in := func(p int) bool { return p == pid || known[p] }
	for changed := true; changed; {
		changed = false
		for _, p := range all {
			if known[p.pid] || p.pid != pid && p.session != pid && !in(p.parent) && !slices.Contains(fresh, p.parent) {
				continue
			}
			if slices.Contains(fresh, p.pid) {
				continue
			}
			fresh, changed = append(fresh, p.pid), true
		}
	}
	return fresh
}

// processes lists those of the machine; one that ends meanwhile is left out.
func processes() []descent {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []descent
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		if p, ok := parseStat(pid, stat); ok && p.state != 'Z' {
			all = append(all, p.descent)
		}
	}
	return all
}

type statLine struct {
	descent
	state byte
}

// parseStat reads state, parent and session from a line of /proc/<pid>/stat.
// The name before them may hold anything, brackets too.
func parseStat(pid int, line []byte) (statLine, bool) {
	_, rest, ok := bytes.Cut(line[max(bytes.LastIndexByte(line, ')'), 0):], []byte(") "))
	f := bytes.Fields(rest)
	if !ok || len(f) < 4 {
		return statLine{}, false
	}
	parent, err1 := strconv.Atoi(string(f[1]))
	session, err2 := strconv.Atoi(string(f[3]))
	return statLine{descent{pid, parent, session}, f[0][0]}, err1 == nil && err2 == nil
}
