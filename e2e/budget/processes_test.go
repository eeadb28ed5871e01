package budget

import (
	"fmt"
	"strings"
	"testing"

	"github.com/carob-project/carob/e2e/harness"
)

// belonging returns the instance's processes: carob, those that name its
// directories, and the children of all these.
func belonging(all []harness.Process, c *harness.Carob) map[int]harness.Process {
	own := map[int]harness.Process{}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			_, known := own[p.PID]
			_, child := own[p.Parent]
			if !known && (child || p.PID == c.PID() || strings.Contains(p.Cmdline, c.Dir)) {
				own[p.PID], grown = p, true
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
	first := belonging(harness.Processes(t), c)
	const pods = 3
	for i := range pods {
		start(i + 1)
	}
	containers, beyond := 0, []string{}
	for pid, p := range belonging(harness.Processes(t), c) {
		if _, before := first[pid]; before {
			continue
		}
		if inPod(p, uids) {
			containers++
		} else {
			beyond = append(beyond, strings.ReplaceAll(p.Cmdline, "\x00", " "))
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

func inPod(p harness.Process, uids map[string]bool) bool {
	for uid := range uids {
		if strings.Contains(p.Cgroup, uid) {
			return true
		}
	}
	return false
}
