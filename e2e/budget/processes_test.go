package budget

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/carob-project/carob/e2e/harness"
)

// process is one of the machine's, as /proc shows it.
type process struct {
	pid, parent  int
	args, cgroup string
}

func processes(t *testing.T) []process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		stat, errStat := os.ReadFile(dir + "/stat")
		args, errArgs := os.ReadFile(dir + "/cmdline")
		cgroup, errCgroup := os.ReadFile(dir + "/cgroup")
		if err != nil || errStat != nil || errArgs != nil || errCgroup != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		fields := strings.Fields(rest)
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatalf("%s/stat: %s", dir, stat)
		}
		all = append(all, process{pid: pid, parent: parent, args: strings.ReplaceAll(string(args), "\x00", " "), cgroup: string(cgroup)})
	}
	return all
}

// belonging returns the instance's processes: carob, those that name its
// directories, and the children of all these.
func belonging(all []process, c *harness.Carob) map[int]process {
	own := map[int]process{}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			_, known := own[p.pid]
			_, child := own[p.parent]
			if !known && (child || p.pid == c.PID() || strings.Contains(p.args, c.Dir)) {
				own[p.pid], grown = p, true
			}
		}
	}
	return own
}

func TestProcessesOfAnIdlePod(t *testing.T) {
	b := budget(t)
	c := harness.Started(t)
	uids := map[string]bool{}
	start := func(i int) {
		name := fmt.Sprintf("idle-%d", i)
		c.Apply(t, fmt.Sprintf(twoSleepers, name))
		c.WaitReady(t, name)
		uids[c.Get(t, "pod", name, "{.metadata.uid}")] = true
	}
	// What a machine needs once, whatever the number of pods, comes with the
	// first one.
	start(0)
	first := belonging(processes(t), c)
	const pods = 3
	for i := range pods {
		start(i + 1)
	}
	containers, beyond := 0, []string{}
	for pid, p := range belonging(processes(t), c) {
		if _, before := first[pid]; before {
			continue
		}
		if inPod(p, uids) {
			containers++
		} else {
			beyond = append(beyond, p.args)
		}
	}
	if containers != 2*pods {
		t.Errorf("%d processes in the cgroups of the pods, want %d", containers, 2*pods)
	}
	if n := len(beyond); n > pods*b.ProcessesPerPod {
		t.Errorf("%d processes for %d pods beyond those of their containers, and processesPerPod in e2e/budget/budget.yaml allows %d each. "+
			"Each costs memory for as long as the pod lives: do without it, or raise the number in the same commit and say what for.\n%s",
			n, pods, b.ProcessesPerPod, strings.Join(beyond, "\n"))
	}
	if len(beyond) < pods {
		t.Errorf("fewer processes than shims, which is not possible: %q", beyond)
	}
}

func inPod(p process, uids map[string]bool) bool {
	for uid := range uids {
		if strings.Contains(p.cgroup, uid) {
			return true
		}
	}
	return false
}
