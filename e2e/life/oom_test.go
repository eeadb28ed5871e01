package life

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// groupKills says whether the kernel kills a container as a whole: as in
// Kubernetes, where cgroups are v2.
func groupKills() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// oom: what a container's first process makes of the end of another one is its
// own affair, and stays in the reason when it ends itself.
func oom(t *testing.T, c *harness.Carob) {
	const greedy = "exec 2>/dev/null; tail /dev/zero; echo a child ended with $?; "
	for name, after := range map[string]string{
		"oom-survives": "sleep 100000", "oom-completes": "exit 0", "oom-fails": "exit 3", "oom-itself": "exec tail /dev/zero",
	} {
		c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: 'busybox:1.35', command: [sh, -c, '%s'], resources: {limits: {memory: 24Mi}}}
`, name, greedy+after))
	}
	const ended = `{.status.phase} {.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}`
	want := map[string]string{
		"oom-survives": "Running  ", "oom-completes": "Succeeded OOMKilled 0", "oom-fails": "Failed OOMKilled 3", "oom-itself": "Failed OOMKilled 137",
	}
	says := "a child ended with 137\n"
	if groupKills() {
		says = ""
	}
	for name, w := range want {
		if groupKills() {
			w = "Failed OOMKilled 137"
		} else {
			harness.Eventually(t, 40*time.Second, func() string {
				if out, err := c.Kubectl("logs", name); err != nil || !strings.Contains(out, says) {
					return fmt.Sprintf("%s says %s, %v", name, out, err)
				}
				return ""
			})
		}
		becomes(t, c, 40*time.Second, name, ended, w)
		if out := c.K(t, "logs", name); out != says {
			t.Errorf("%s says %q", name, out)
		}
	}
	if groupKills() {
		return
	}
	const alive = `{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready} {.status.containerStatuses[0].lastState}`
	becomes(t, c, 20*time.Second, "oom-survives", alive, "0 true {}")
}
