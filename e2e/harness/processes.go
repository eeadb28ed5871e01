package harness

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Process is one of the machine's, as /proc shows it.
type Process struct {
	PID, Parent int
	// Cmdline has its arguments, each with a zero byte behind it.
	Cmdline string
	Cgroup  string
}

// Processes returns those of the machine, without what ends meanwhile.
func Processes(t testing.TB) []Process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []Process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		stat, errStat := os.ReadFile(dir + "/stat")
		cmdline, errCmdline := os.ReadFile(dir + "/cmdline")
		cgroup, errCgroup := os.ReadFile(dir + "/cgroup")
		if err != nil || errStat != nil || errCmdline != nil || errCgroup != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		fields := strings.Fields(rest)
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatalf("%s/stat: %s", dir, stat)
		}
		all = append(all, Process{PID: pid, Parent: parent, Cmdline: string(cmdline), Cgroup: string(cgroup)})
	}
	return all
}

// PIDs returns the processes whose command line is looked for.
func PIDs(t testing.TB, wanted func(cmdline string) bool) []int {
	t.Helper()
	var pids []int
	for _, p := range Processes(t) {
		if wanted(p.Cmdline) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}
