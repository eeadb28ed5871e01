package pods

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const busy = `
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {load: "yes"}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: loop, image: 'busybox:1.35', command: [sh, -c, 'while :; do :; done']}
    - {name: idle, image: 'busybox:1.35', command: [sleep, '100000']}
`

const greedy = `
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'dd if=/dev/zero of=/cache/x bs=1M count=3 && exec sleep 100000']
      volumeMounts: [{name: cache, mountPath: /cache}]
  volumes: [{name: cache, emptyDir: {sizeLimit: 1Mi}}]
`

// TestUsage shows what clients learn of what pods and the node use, and how a
// pod ends that uses more than it may.
func TestUsage(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, busy)
	c.Apply(t, greedy)
	c.WaitReady(t, "busy")
	t.Run("top pod", func(t *testing.T) {
		loop := regexp.MustCompile(`busy +loop +[1-9][0-9]*m`)
		harness.Eventually(t, time.Minute, func() string {
			out, err := c.Kubectl("top", "pod", "--containers", "-l", "load=yes")
			if err != nil || !loop.MatchString(out) || !strings.Contains(out, "idle") {
				return "got " + out
			}
			return ""
		})
		if out := c.K(t, "top", "pod", "--sum", "-A"); !strings.Contains(out, "busy") {
			t.Errorf("the sum of all pods:\n%s", out)
		}
	})
	t.Run("top node", func(t *testing.T) {
		harness.Eventually(t, time.Minute, func() string {
			out, err := c.Kubectl("top", "node")
			if err != nil || !strings.Contains(out, "%") {
				return "got " + out
			}
			return ""
		})
	})
	t.Run("more than sizeLimit", func(t *testing.T) {
		harness.Eventually(t, time.Minute, func() string {
			if out, err := c.Kubectl("get", "pod", "greedy", "-o", "jsonpath={.status.phase}"); err != nil || out != "Failed" {
				return "phase " + out
			}
			return ""
		})
		for path, want := range map[string]string{
			".status.reason":  "Evicted",
			".status.message": `Usage of EmptyDir volume "cache" exceeds the limit "1Mi". `,
			`.status.conditions[?(@.type=="DisruptionTarget")].reason`: "",
		} {
			if out := c.K(t, "get", "pod", "greedy", "-o", "jsonpath={"+path+"}"); strings.TrimSpace(out) != strings.TrimSpace(want) {
				t.Errorf("%s is %q", path, out)
			}
		}
		harness.Eventually(t, 10*time.Second, func() string {
			out, err := c.Kubectl("get", "events", "--field-selector", "reason=Evicted,involvedObject.name=greedy")
			if err != nil || !strings.Contains(out, "Usage of EmptyDir") {
				return "got " + out
			}
			return ""
		})
	})
}
