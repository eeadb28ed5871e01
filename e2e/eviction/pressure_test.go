package eviction

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// A node whose threshold is all of its memory but a hundredth is always short
// of it, whatever the machine does, and no harm is done.
const shortOfMemory = "memory.available=99%"

const memoryPods = `
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  containers: [{name: app, image: 'busybox:1.35', command: [sleep, '100000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: bound}
spec:
  nodeName: NODE
  containers: [{name: app, image: 'busybox:1.35', command: [sleep, '100000']}]
---
apiVersion: v1
kind: Pod
metadata: {name: within}
spec:
  priority: 0
  tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists}]
  containers:
    - name: app
      image: busybox:1.35
      command: [sleep, '100000']
      resources: {requests: {memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: over}
spec:
  tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists}]
  terminationGracePeriodSeconds: 300
  containers:
    - name: app
      image: busybox:1.35
      command: [sh, -c, 'trap "" TERM; x=$(head -c 4000000 /dev/zero | tr "\0" x); while :; do sleep 1; done']
      resources: {requests: {memory: 1Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: vital, namespace: kube-system}
spec:
  priorityClassName: system-node-critical
  tolerations: [{key: node.kubernetes.io/memory-pressure, operator: Exists}]
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: 'busybox:1.35', command: [sleep, '100000']}]
`

var overMessage = regexp.MustCompile(`^The node was low on resource: memory\. Threshold quantity: \S+, available: \S+\. ` +
	`Container app was using \S+, request is 1Mi, has larger consumption of memory\. $`)

// TestPressure shows what a node does that runs short of memory, then of disk.
func TestPressure(t *testing.T) {
	c := harness.New(t)
	base := c.Args
	c.Args = append(base, "--eviction-hard", shortOfMemory, "--eviction-pressure-transition-period", "1s",
		"--system-reserved", "cpu=100m", "--carob-reserved", "memory=64Mi,ephemeral-storage=1Gi")
	c.Up(t)
	c.Import(t)
	node := strings.TrimSpace(c.K(t, "get", "node", "-o", "jsonpath={.items[0].metadata.name}"))
	memory(t, c, node)

	c.Stop(t)
	c.Args = append(base, "--eviction-hard", "memory.available=1Mi", "--eviction-pressure-transition-period", "1s")
	c.Up(t)
	harness.Eventually(t, 30*time.Second, func() string {
		out, err := c.Kubectl("describe", "node", node)
		if err != nil || !strings.Contains(out, "KubeletHasSufficientMemory") || strings.Contains(out, "memory-pressure") {
			return "got " + out
		}
		return ""
	})
	wantEvent(t, c, node, "NodeHasSufficientMemory", "status is now")
	t.Run("drain", func(t *testing.T) { drain(t, c, node) })
}

func memory(t *testing.T, c *harness.Carob, node string) {
	harness.Eventually(t, 30*time.Second, func() string {
		out, err := c.Kubectl("get", "node", node, "-o", "jsonpath={.spec.taints}")
		if err != nil || !strings.Contains(out, `{"effect":"NoSchedule","key":"node.kubernetes.io/memory-pressure"}`) {
			return "got " + out
		}
		return ""
	})
	wantEvent(t, c, node, "NodeHasInsufficientMemory", "status is now: NodeHasInsufficientMemory")
	wantEvent(t, c, node, "EvictionThresholdMet", "Attempting to reclaim memory")
	wantEvent(t, c, node, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
	describe := c.K(t, "describe", "node", node)
	for _, want := range []string{"KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasNoDiskPressure", "Allocated resources"} {
		if !strings.Contains(describe, want) {
			t.Errorf("no %q in\n%s", want, describe)
		}
	}
	c.Apply(t, strings.ReplaceAll(memoryPods, "NODE", node))
	if got := evicted(t, c, "bound", 30*time.Second); got != "Pod was rejected: The node had condition: [MemoryPressure]. " {
		t.Errorf("bound: %q", got)
	}
	if got := evicted(t, c, "over", time.Minute); !overMessage.MatchString(got) {
		t.Errorf("over: %q", got)
	}
	if got := c.Get(t, "pod", "over", `{.status.conditions[?(@.type=="DisruptionTarget")].reason} {.status.containerStatuses[0].state.terminated.exitCode}`); got != "TerminationByKubelet 137" {
		t.Errorf("over: %s", got)
	}
	wantEvent(t, c, "over", "Evicted", "The node was low on resource: memory.")
	if got := c.Get(t, "pod", "bare", `{.status.phase} {.status.conditions[?(@.type=="PodScheduled")].message}`); !strings.HasPrefix(got, "Pending 0/1 nodes are available: 1 node(s) had untolerated taint(s).") {
		t.Errorf("bare: %s", got)
	}
	// One after the other: the one within its request comes next.
	evicted(t, c, "within", time.Minute)
	ended := func(pod string) string {
		return c.Get(t, "pod", pod, "{.status.containerStatuses[0].state.terminated.finishedAt}")
	}
	if a, b := ended("over"), ended("within"); a > b || a == "" {
		t.Errorf("over ended at %s, within at %s", a, b)
	}
	if got := c.K(t, "get", "pod", "vital", "-n", "kube-system", "-o", "jsonpath={.status.phase}"); got != "Running" {
		t.Errorf("the vital pod is %s", got)
	}
	// Nothing of the disk is kept for pods that were evicted.
	harness.Eventually(t, 20*time.Second, func() string {
		if _, err := c.Kubectl("logs", "over"); err == nil {
			return "the log of an evicted pod is still there"
		}
		return ""
	})
	c.K(t, "delete", "pod", "--all", "--wait=false")
}

// drain empties the node and takes it back.
func drain(t *testing.T, c *harness.Carob, node string) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: drained}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: 'busybox:1.35', command: [sleep, '100000']}]
`)
	c.WaitReady(t, "drained")
	c.K(t, "drain", node, "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s", "--pod-selector=!none")
	if out, err := c.Kubectl("get", "pod", "drained"); err == nil {
		t.Errorf("after drain: %s", out)
	}
	taints := func(want bool) {
		harness.Eventually(t, 20*time.Second, func() string {
			out, err := c.Kubectl("get", "node", node, "-o", "jsonpath={.spec.unschedulable} {.spec.taints}")
			if err != nil || strings.Contains(out, "node.kubernetes.io/unschedulable") != want || strings.HasPrefix(out, "true") != want {
				return "got " + out
			}
			return ""
		})
	}
	taints(true)
	c.K(t, "uncordon", node)
	taints(false)
}

// TestDisk shows a node whose small disk a pod fills.
func TestDisk(t *testing.T) {
	c := harness.New(t)
	if err := smallDisk(c.DataDir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// What runs has to end before the disk goes; the directory itself
		// cannot be removed by then.
		c.Stop(t)
		_, _ = c.Run("reset", "--yes")
		if err := syscall.Unmount(c.DataDir, 0); err != nil {
			t.Error(err)
			_ = syscall.Unmount(c.DataDir, syscall.MNT_DETACH)
		}
	})
	c.Args = append(c.Args, "--eviction-hard", "nodefs.available=30%", "--eviction-pressure-transition-period", "1s",
		"--eviction-minimum-reclaim", "nodefs.available=1Mi")
	c.Up(t)
	c.Import(t)
	node := strings.TrimSpace(c.K(t, "get", "node", "-o", "jsonpath={.items[0].metadata.name}"))
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: filler}
spec:
  containers:
    - name: app
      image: busybox:1.35
      command: [sh, -c, 'dd if=/dev/zero of=/scratch/big bs=1M count=300; exec sleep 100000']
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bystander}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: 'busybox:1.35', command: [sleep, '100000']}]
`)
	if got := evicted(t, c, "filler", time.Minute); !strings.HasPrefix(got, "The node was low on resource: ephemeral-storage. Threshold quantity: ") {
		t.Errorf("filler: %q", got)
	}
	wantEvent(t, c, node, "NodeHasDiskPressure", "status is now: NodeHasDiskPressure")
	wantEvent(t, c, node, "EvictionThresholdMet", "Attempting to reclaim ephemeral-storage")
	wantEvent(t, c, node, "NodeHasNoDiskPressure", "status is now: NodeHasNoDiskPressure")
	harness.Eventually(t, time.Minute, func() string {
		out, err := c.Kubectl("get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="DiskPressure")].status} {.spec.taints}`)
		if err != nil || strings.TrimSpace(out) != "False" {
			return "got " + out
		}
		return ""
	})
	if got := c.Get(t, "pod", "bystander", "{.status.phase}"); got != "Running" {
		t.Errorf("the bystander is %s: %s", got, c.Get(t, "pod", "bystander", "{.status.message}"))
	}
}
