// Package recovery kills what runs the pods and checks that the pods do not
// notice.
package recovery

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// counter logs a numbered line many times a second.
const counter = `
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: count
      image: 'busybox:1.35'
      command: [sh, -c, 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; usleep 2000; done; exec sleep 100000']
    - {name: idle, image: 'busybox:1.35', command: [sleep, '100000']}
`

type snapshot struct{ pids, restarts string }

func look(t *testing.T, c *harness.Carob, pod string) snapshot {
	t.Helper()
	uid := c.Get(t, "pod", pod, "{.metadata.uid}")
	// The containers' first processes, with their start times: a PID alone may
	// be somebody else's by now.
	out, err := exec.Command("sh", "-c", "grep -l pod"+uid+" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | while read p; do "+
		"grep -q '^NSpid:.*[[:space:]]1$' /proc/$p/status 2>/dev/null && echo $p $(cut -d' ' -f22 /proc/$p/stat); done | sort").Output()
	if err != nil {
		t.Fatal(err)
	}
	return snapshot{string(out), c.Get(t, "pod", pod, "{.status.containerStatuses[*].restartCount}")}
}

// noLineLost reads the whole log and checks that the numbers have no gap; a
// line may be repeated after a kill, as docs/logs.md says, but none is lost.
func noLineLost(t *testing.T, c *harness.Carob, atLeast int) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() string {
		out := c.K(t, "logs", "counter", "-c", "count")
		last := 0
		for line := range strings.Lines(out) {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "line ")))
			if err != nil {
				t.Fatalf("a broken line %q", line)
			}
			if n > last+1 {
				t.Fatalf("lines %d to %d are lost", last+1, n-1)
			}
			last = max(last, n)
		}
		if last < atLeast {
			return fmt.Sprintf("only %d lines yet", last)
		}
		return ""
	})
}

func lastLine(t *testing.T, c *harness.Carob) int {
	t.Helper()
	out := c.K(t, "logs", "counter", "-c", "count", "--tail=1")
	n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(out, "line ")))
	return n
}

func TestPodsSurviveTheDeathOfCarob(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, counter)
	c.WaitReady(t, "counter")
	before := look(t, c, "counter")
	if len(strings.Fields(before.pids)) != 4 {
		t.Fatalf("processes: %q", before.pids)
	}
	for round := range 3 {
		logged := lastLine(t, c)
		c.Kill(t)
		c.Up(t)
		c.WaitReady(t, "counter")
		if after := look(t, c, "counter"); after != before {
			t.Fatalf("round %d: before\n%+v\nafter\n%+v", round, before, after)
		}
		noLineLost(t, c, logged+100)
	}
	c.Stop(t)
	c.Up(t)
	if after := look(t, c, "counter"); after != before {
		t.Errorf("after a clean stop: before\n%+v\nafter\n%+v", before, after)
	}
}

func containerdPID(t *testing.T, c *harness.Carob) int {
	t.Helper()
	out, err := exec.Command("pgrep", "-f", "^[^ ]*containerd .*"+filepath.Join(c.RunDir, "containerd")).Output()
	if err != nil {
		t.Fatalf("no private containerd: %v", err)
	}
	pid, err := strconv.Atoi(strings.Fields(string(out))[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestPodsSurviveTheDeathOfContainerd(t *testing.T) {
	if _, err := os.Stat("/run/containerd/containerd.sock"); err == nil {
		t.Log("a system containerd is used: carob's own is the subject here, and it has none")
	}
	c := harness.Started(t)
	c.Apply(t, counter)
	c.WaitReady(t, "counter")
	before := look(t, c, "counter")
	logged := lastLine(t, c)
	if err := syscall.Kill(containerdPID(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// A new pod proves that containerd is back and that carob has found it.
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: later}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '1000']}]}\n")
	c.WaitReady(t, "later")
	c.WaitReady(t, "counter")
	if after := look(t, c, "counter"); after != before {
		t.Errorf("before\n%+v\nafter\n%+v", before, after)
	}
	noLineLost(t, c, logged+100)
}

func TestAKilledContainerIsRestarted(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: victim}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sh, -c, 'echo up; exec sleep 100000']}]}\n")
	c.WaitReady(t, "victim")
	uid := c.Get(t, "pod", "victim", "{.metadata.uid}")
	kill := func() {
		out, err := exec.Command("sh", "-c", "grep -l pod"+uid+" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range strings.Fields(string(out)) {
			pid, _ := strconv.Atoi(f)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	started := func(count string) func() string {
		return func() string {
			got := c.Get(t, "pod", "victim", "{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}")
			if !strings.HasPrefix(got, count+" 2") {
				return got
			}
			return ""
		}
	}
	kill()
	harness.Eventually(t, 5*time.Second, started("1"))
	first := c.Get(t, "pod", "victim", "{.status.containerStatuses[0].lastState.terminated.exitCode}")
	if first != "137" {
		t.Errorf("exit code %s", first)
	}
	kill()
	harness.Eventually(t, 8*time.Second, func() string {
		got := c.Get(t, "pod", "victim", "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}")
		if !strings.HasPrefix(got, "CrashLoopBackOff: back-off 10s restarting failed container=a pod=victim_default(") {
			return "got " + got
		}
		return ""
	})
	harness.Eventually(t, 20*time.Second, started("2"))
	finished := c.Get(t, "pod", "victim", "{.status.containerStatuses[0].lastState.terminated.finishedAt}")
	began := c.Get(t, "pod", "victim", "{.status.containerStatuses[0].state.running.startedAt}")
	f, err1 := time.Parse(time.RFC3339, finished)
	b, err2 := time.Parse(time.RFC3339, began)
	if err1 != nil || err2 != nil || b.Sub(f) < 9*time.Second || b.Sub(f) > 13*time.Second {
		t.Errorf("second restart %s after the end %s", began, finished)
	}
	if logs := c.K(t, "logs", "victim", "--previous"); logs != "up\n" {
		t.Errorf("previous log: %q", logs)
	}
}

func TestLastWordsWhileCarobIsAway(t *testing.T) {
	c := harness.Started(t)
	out := filepath.Join(c.Dir, "go")
	if err := os.MkdirAll(out, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: brief}\nspec: {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sh, -c, 'echo first; until [ -e /go/now ]; do usleep 10000; done; echo last words; exit 3'], volumeMounts: [{name: go, mountPath: /go}]}], volumes: [{name: go, hostPath: {path: "+out+"}}]}\n")
	c.WaitReady(t, "brief")
	pid := strings.Fields(look(t, c, "brief").pids)[0]
	c.Kill(t)
	if err := os.WriteFile(filepath.Join(out, "now"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() string {
		if state, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(state), ") Z") {
			return "the container still runs"
		}
		return ""
	})
	c.Up(t)
	harness.Eventually(t, 20*time.Second, func() string {
		if got := c.Get(t, "pod", "brief", "{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].restartCount}"); got != "Failed 3 0" {
			return "got " + got
		}
		return ""
	})
	if logs := c.K(t, "logs", "brief"); logs != "first\nlast words\n" {
		t.Errorf("log: %q", logs)
	}
}
