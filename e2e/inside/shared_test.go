package inside

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/e2e/harness"
)

// orphans leaves, again and again, a process behind whose parent has ended.
const orphans = `while true; do (sleep 0.1 &) ; sleep 0.2; done`

const sharing = `
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  terminationGracePeriodSeconds: 0
  shareProcessNamespace: true
  containers:
    - {name: a, image: 'busybox:1.35', command: [sh, -c, '` + orphans + `']}
    - {name: b, image: 'busybox:1.35', command: [sleep, '7003']}
---
apiVersion: v1
kind: Pod
metadata: {name: reaped, annotations: {carob.dev/init: 'true'}}
spec:
  terminationGracePeriodSeconds: 30
  restartPolicy: Never
  containers:
    - {name: a, image: 'busybox:1.35', command: [sh, -c, 'trap "exit 9" TERM; ` + orphans + `']}
    - {name: tty, image: 'busybox:1.35', command: [sh], stdin: true, tty: true}
    - {name: fails, image: 'busybox:1.35', command: [sh, -c, 'exit 5']}
    - {name: killed, image: 'busybox:1.35', command: [sh, -c, 'kill -9 $$$$']}
    - {name: user, image: 'busybox:1.35', securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true}, command: [id, -u]}
`

// holders finds the processes that hold those of a pod.
func holders(t *testing.T, uid string) []int {
	t.Helper()
	var pids []int
	for _, p := range harness.Processes(t) {
		if strings.Contains(p.Cmdline, "--hold-the-processes-of-the-pod") && strings.Contains(p.Cgroup, uid) {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// sharesProcesses: containers see each other's processes, orphans are reaped,
// carob may be killed, and a holder that ends is replaced.
func sharesProcesses(t *testing.T, c *harness.Carob) {
	c.Apply(t, sharing)
	c.WaitReady(t, "shared")
	uid := c.Get(t, "pod", "shared", "{.metadata.uid}")
	ps := c.K(t, "exec", "shared", "-c", "b", "--", "ps", "-o", "pid,stat,args")
	if !strings.Contains(ps, "1 S    /carob-init --hold-the-processes-of-the-pod") || !strings.Contains(ps, "sleep 0.2") || !strings.Contains(ps, "sleep 7003") {
		t.Errorf("processes:\n%s", ps)
	}
	noZombies(t, c, "shared", "a")
	// Another one joins them.
	if out, err := c.Kubectl("debug", "shared", "--image="+harness.Image, "-c", "joins", "--", "ps", "-o", "args"); err != nil {
		t.Error(out, err)
	}
	harness.Eventually(t, 20*time.Second, func() string {
		out, _ := c.Kubectl("logs", "shared", "-c", "joins")
		if strings.Contains(out, "sleep 7003") {
			return ""
		}
		return "got " + out
	})
	mine := holders(t, uid)
	if len(mine) != 1 {
		t.Fatalf("holders %v", mine)
	}
	c.Kill(t)
	c.Up(t)
	c.WaitReady(t, "shared")
	if now := holders(t, uid); len(now) != 1 || now[0] != mine[0] {
		t.Errorf("holders %v after a restart, %v before", now, mine)
	}
	if n := c.Get(t, "pod", "shared", "{.status.containerStatuses[*].restartCount}"); n != "0 0" {
		t.Errorf("restarts after a restart of carob: %s", n)
	}
	if err := unix.Kill(mine[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// A container whose end is seen before that of the holder can be tried in the
	// old sandbox first.
	once := regexp.MustCompile(`^[12] [12] true true$`)
	harness.Eventually(t, 60*time.Second, func() string {
		if n := c.Get(t, "pod", "shared", "{.status.containerStatuses[*].restartCount} {.status.containerStatuses[*].ready}"); !once.MatchString(n) {
			return "got " + n
		}
		return ""
	})
	c.K(t, "delete", "pod", "shared", "--timeout=60s")
	harness.Eventually(t, 20*time.Second, func() string {
		if left := holders(t, uid); len(left) > 0 {
			return fmt.Sprint("left: ", left)
		}
		return ""
	})
}

// noZombies looks for some time, in which orphans have come and gone.
func noZombies(t *testing.T, c *harness.Carob, pod, container string) {
	t.Helper()
	out := c.K(t, "exec", pod, "-c", container, "--", "sh", "-c",
		`for i in 1 2 3 4 5 6 7 8; do sleep 0.3; ps -o stat,args | grep ^Z; done | wc -l`)
	// One zombie may be seen in the instant before it is reaped.
	if n, err := strconv.Atoi(strings.TrimSpace(out)); err != nil || n > 2 {
		t.Errorf("%s: zombies: %s", pod, out)
	}
}

// reaps: an init is the first process of every container, and nothing else is
// different.
func reaps(t *testing.T, c *harness.Carob, k client) {
	harness.Eventually(t, 30*time.Second, func() string {
		got := c.Get(t, "pod", "reaped", `{range .status.containerStatuses[*]}{.name}={.state.terminated.exitCode}{.state.running.startedAt} {end}`)
		if strings.Contains(got, "fails=5 ") && strings.Contains(got, "killed=137 ") && strings.Contains(got, "user=0 ") && strings.Contains(got, "tty=2") && !strings.Contains(got, "a= ") {
			return ""
		}
		return "got " + got
	})
	if out := c.K(t, "logs", "reaped", "-c", "user"); out != "1000\n" {
		t.Errorf("user %q", out)
	}
	if ps := c.K(t, "exec", "reaped", "-c", "a", "--", "ps", "-o", "pid,args"); !strings.Contains(ps, "1 /sbin/carob-init -- sh -c") {
		t.Errorf("processes:\n%s", ps)
	}
	noZombies(t, c, "reaped", "a")
	x := onTerminal(t, 31, 91, k.command(t.Context(), "attach", "-it", "reaped", "-c", "tty"))
	x.sees("/ # ")
	x.sized(31, 91)
	x.types("echo asle'ep'; sleep 1000")
	x.sees("asleep")
	x.sends("\x03") // it ends sleep and not the shell
	x.types("echo in-$((40+2))")
	x.sees("in-42")
	x.types("exit 6")
	x.ends()
	harness.Eventually(t, 20*time.Second, func() string {
		if got := c.Get(t, "pod", "reaped", `{.status.containerStatuses[?(@.name=="tty")].state.terminated.exitCode}`); got != "6" {
			return "got " + got
		}
		return ""
	})
	// The stop signal reaches the command.
	began := time.Now()
	c.K(t, "delete", "pod", "reaped", "--timeout=60s")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the command ended after %v: it got no signal", took)
	}
}
