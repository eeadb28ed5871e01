// Package eviction shows how a node protects itself: from pods that take more
// of its disk than they may, and from running short of memory and disk.
package eviction

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// writers take more of the disk than they may, each in another way. They would
// have a long grace period.
const writers = `
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  terminationGracePeriodSeconds: 300
  containers:
    - name: app
      image: busybox:1.35
      command: [sh, -c, 'trap "" TERM; dd if=/dev/zero of=/big bs=1M count=8; sleep 100000 & wait; sleep 100000']
      resources: {limits: {ephemeral-storage: 4Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: logger}
spec:
  containers:
    - name: quiet
      image: busybox:1.35
      command: [sleep, '100000']
      resources: {limits: {ephemeral-storage: 64Mi}}
    - name: loud
      image: busybox:1.35
      command: [sh, -c, 'yes carob | head -n 200000; exec sleep 100000']
      resources: {limits: {ephemeral-storage: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: app
      image: busybox:1.35
      command: [sh, -c, 'dd if=/dev/zero of=/some bs=1M count=2 && exec sleep 100000']
      resources: {requests: {ephemeral-storage: 1Mi}, limits: {ephemeral-storage: 4Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  containers:
    - name: app
      image: busybox:1.35
      command: [sleep, '100000']
      resources: {requests: {ephemeral-storage: 4Ei}}
`

// evicted waits until the pod has ended so, and returns the message.
func evicted(t *testing.T, c *harness.Carob, pod string, within time.Duration) string {
	t.Helper()
	harness.Eventually(t, within, func() string {
		out, err := c.Kubectl("get", "pod", pod, "-o", "jsonpath={.status.phase} {.status.reason}")
		if err != nil || strings.TrimSpace(out) != "Failed Evicted" {
			return pod + ": " + out
		}
		return ""
	})
	return c.Get(t, "pod", pod, "{.status.message}")
}

// wantEvent waits for an event about an object.
func wantEvent(t *testing.T, c *harness.Carob, object, reason, text string) {
	t.Helper()
	harness.Eventually(t, 30*time.Second, func() string {
		out, err := c.Kubectl("get", "events", "-A", "--field-selector", "reason="+reason+",involvedObject.name="+object)
		if err != nil || !strings.Contains(out, text) {
			return "got " + out
		}
		return ""
	})
}

func storage(t *testing.T, c *harness.Carob) {
	c.Apply(t, writers)
	for pod, message := range map[string]string{
		"layer":  "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ",
		"logger": `Container loud exceeded its local ephemeral storage limit "1Mi". `,
	} {
		if got := evicted(t, c, pod, time.Minute); got != message {
			t.Errorf("%s: %q", pod, got)
		}
		wantEvent(t, c, pod, "Evicted", strings.TrimSpace(message))
		if got := c.Get(t, "pod", pod, `{.status.conditions[?(@.type=="DisruptionTarget")].reason}`); got != "" {
			t.Errorf("%s has a DisruptionTarget: %s", pod, got)
		}
	}
	if got := c.Get(t, "pod", "layer", "{.status.containerStatuses[0].state.terminated.exitCode}"); got != "137" {
		t.Errorf("the deaf container ended with %s", got)
	}
	if got := c.Get(t, "pod", "modest", "{.status.phase} {.status.containerStatuses[0].resources.limits}"); got != `Running {"ephemeral-storage":"4Mi"}` {
		t.Errorf("modest: %s", got)
	}
	harness.Eventually(t, 20*time.Second, func() string {
		got, err := c.Kubectl("get", "pod", "huge", "-o", `jsonpath={.status.conditions[?(@.type=="PodScheduled")].message}`)
		if err != nil || !strings.Contains(got, "0/1 nodes are available: 1 Insufficient ephemeral-storage.") {
			return "got " + got
		}
		return ""
	})
	if got := c.K(t, "describe", "node"); !strings.Contains(got, "ephemeral-storage") {
		t.Errorf("no ephemeral-storage in\n%s", got)
	}
	c.K(t, "delete", "pod", "--all", "--wait=false")
}

// TestStorage shows the limits of the local disk.
func TestStorage(t *testing.T) {
	c := harness.Started(t)
	storage(t, c)
}
