// Package cleanup checks that nothing is left behind.
package cleanup

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const pod = `
apiVersion: v1
kind: Pod
metadata: {name: pod-%d}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: a
      image: 'busybox:1.35'
      command: [sleep, '100000']
      ports: [{containerPort: 80, hostPort: %s}]
      volumeMounts: [{name: m, mountPath: /m, subPath: x}, {name: s, mountPath: /s}]
    - {name: b, image: 'busybox:1.35', command: [sleep, '100000']}
  volumes:
    - {name: m, emptyDir: {medium: Memory}}
    - {name: s, secret: {secretName: s}}
---
`

func create(t *testing.T, c *harness.Carob, n int) {
	t.Helper()
	c.Apply(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: v}\n")
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, pod, i, harness.FreePort(t))
	}
	c.Apply(t, all.String())
	c.K(t, "wait", "--for=condition=Ready", "--timeout=90s", "pod", "--all")
}

func TestDeletingEverythingLeavesNothing(t *testing.T) {
	c := harness.Started(t)
	// One pod makes what stays for all: the bridge, the cgroup root.
	create(t, c, 1)
	c.K(t, "delete", "pod", "--all", "--timeout=60s")
	before := c.State(t)
	create(t, c, 5)
	c.K(t, "delete", "pod", "--all", "--timeout=60s")
	c.SameState(t, before)
	for _, dir := range []string{c.DataDir + "/pods", c.RunDir + "/sandboxes"} {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: %v %v", dir, left, err)
		}
	}
}

func TestDownLeavesNothing(t *testing.T) {
	c := harness.New(t)
	before := c.State(t)
	c.Up(t)
	c.Import(t)
	create(t, c, 3)
	c.Must(t, "down")
	c.SameState(t, before)

	// The pods were kept: they come back, and reset ends them for good.
	c.Up(t)
	c.K(t, "wait", "--for=condition=Ready", "--timeout=90s", "pod", "--all")
	c.Kill(t)
	c.Must(t, "reset", "--yes")
	c.SameState(t, before)
	for _, dir := range []string{c.DataDir, c.RunDir} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}

func TestDeletedWhileCarobIsAway(t *testing.T) {
	c := harness.Started(t)
	create(t, c, 2)
	c.K(t, "delete", "pod", "pod-0", "--wait=false", "--grace-period=30")
	c.Kill(t)
	c.Up(t)
	harness.Eventually(t, 60*time.Second, func() string { return strings.TrimSpace(c.K(t, "get", "pod", "pod-0", "--ignore-not-found")) })
	c.WaitReady(t, "pod-1")
}
