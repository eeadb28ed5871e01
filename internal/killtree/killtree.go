// Package killtree ends a process together with everything it started, however
// that has hidden itself.
package killtree

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// Process is what /proc says about where a process comes from.
type Process struct {
	PID, Parent, Session int
}

// Kill kills a process that leads a session, as what is executed in a container
// does, and everything it started: its descendants, and what of its session has
// lost its parents. They are stopped first, so that none of them can start
// another one unseen.
func Kill(pid int) {
	if pid <= 1 {
		return
	}
	found := map[int]bool{}
	for range 100 {
		fresh := descendants(Processes(), pid, found)
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
func descendants(all []Process, pid int, known map[int]bool) []int {
	var fresh []int
	in := func(p int) bool { return p == pid || known[p] }
	for changed := true; changed; {
		changed = false
		for _, p := range all {
			if known[p.PID] || p.PID != pid && p.Session != pid && !in(p.Parent) && !slices.Contains(fresh, p.Parent) {
				continue
			}
			if slices.Contains(fresh, p.PID) {
				continue
			}
			fresh, changed = append(fresh, p.PID), true
		}
	}
	return fresh
}

// Processes lists those of the machine; one that ends meanwhile is left out.
func Processes() []Process {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Process
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
			all = append(all, p.Process)
		}
	}
	return all
}

type statLine struct {
	Process
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
	return statLine{Process{pid, parent, session}, f[0][0]}, err1 == nil && err2 == nil
}
