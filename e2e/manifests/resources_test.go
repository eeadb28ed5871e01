package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// podPIDs is how many processes and threads the test lets a pod have.
const podPIDs = "1234"

// podResources reads back from the kernel what the pod's own resources set.
func podResources(t *testing.T, a applied) {
	a.WaitReady(t, "pod-resources")
	a.logs(t, "pod-resources", "second", "limit: 67108864\n")
	uid := a.Get(t, "pod", "pod-resources", "{.metadata.uid}")
	for _, want := range []struct{ controller, v1, v2, value string }{
		{"memory", "memory.limit_in_bytes", "memory.max", "67108864"},
		{"cpu", "cpu.cfs_quota_us", "cpu.max", "50000"},
		{"cpu", "cpu.shares", "cpu.weight", "512 20"},
		{"pids", "pids.max", "pids.max", podPIDs},
	} {
		got := controlFile(t, uid, want.controller, want.v1, want.v2)
		if value := strings.Fields(got); len(value) == 0 || !strings.Contains(" "+want.value+" ", " "+value[0]+" ") {
			t.Errorf("the pod's %s is %q, want %s", want.v1, got, want.value)
		}
	}
	for container, memory := range map[string]string{"first": "33554432", "second": "67108864"} {
		got, err := a.Kubectl("exec", "pod-resources", "-c", container, "--", "sh", "-c",
			"cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max")
		if err != nil || strings.TrimSpace(got) != memory {
			t.Errorf("memory limit inside %s: %q, %v, want %s", container, got, err, memory)
		}
	}
	got := a.Get(t, "pod", "pod-resources", "{.status.qosClass} {.status.allocatedResources} {.status.resources.limits}")
	if got != `Guaranteed {"cpu":"500m","memory":"64Mi"} {"cpu":"500m","memory":"64Mi"}` {
		t.Errorf("status: %s", got)
	}
	if out := a.K(t, "describe", "pod", "pod-resources"); !strings.Contains(out, "Guaranteed") {
		t.Errorf("no class in\n%s", out)
	}
}

// localStorage reads what the pod was told of the disk and what the API shows.
func localStorage(t *testing.T, a applied) {
	a.WaitReady(t, "local-storage")
	a.logs(t, "local-storage", "app", "may take 20 MiB\n")
	if got := a.Get(t, "pod", "local-storage", "{.status.qosClass} {.status.allocatedResources}"); got != `BestEffort {"ephemeral-storage":"10Mi"}` {
		t.Errorf("status: %s", got)
	}
}

func storage(t *testing.T, a applied) {
	a.WaitReady(t, "storage")
	a.logs(t, "storage", "app", "started\n")
	for name, want := range map[string]string{"notes": "Bound 64Mi local", "storage-scratch": "Bound 16Mi local"} {
		if got := a.Get(t, "pvc", name, "{.status.phase} {.status.capacity.storage} {.spec.storageClassName}"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// controlFile reads a control file of a pod's group, in whichever hierarchy the machine has.
func controlFile(t *testing.T, uid, controller, v1, v2 string) string {
	t.Helper()
	for _, pattern := range []string{
		filepath.Join("/sys/fs/cgroup", controller, "*", "kubepods", "pod"+uid, v1),
		filepath.Join("/sys/fs/cgroup", controller, "*", "kubepods", "*", "pod"+uid, v1),
		filepath.Join("/sys/fs/cgroup", "*", "kubepods", "pod"+uid, v2),
		filepath.Join("/sys/fs/cgroup", "*", "kubepods", "*", "pod"+uid, v2),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 1 {
			b, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(b))
		}
	}
	t.Fatalf("no %s or %s of pod %s", v1, v2, uid)
	return ""
}

// resize changes what the two containers of the example have.
func resize(t *testing.T, a applied) {
	a.WaitReady(t, "resize")
	a.logs(t, "resize", "cache", "limit: 32 MiB\n")
	a.K(t, "patch", "pod", "resize", "--subresource", "resize", "--patch",
		`{"spec":{"containers":[{"name":"cache","resources":{"limits":{"memory":"64Mi"}}},{"name":"web","resources":{"limits":{"cpu":"300m"}}}]}}`)
	a.becomes(t, 30*time.Second, "resize",
		"{.status.containerStatuses[*].resources.limits} {.status.containerStatuses[*].restartCount}",
		`{"memory":"64Mi"} {"cpu":"300m","memory":"32Mi"} 1 0`)
	a.logs(t, "resize", "cache", "limit: 64 MiB\n")
}

func limitRange(t *testing.T, a applied) {
	const path = "{.spec.containers[0].resources.limits.memory} {.spec.containers[0].resources.requests.cpu}"
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: bounded%s, namespace: bounded}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '100000']%s}]}
`
	a.Apply(t, fmt.Sprintf(pod, "", ""))
	a.K(t, "-n", "bounded", "wait", "--for=condition=ready", "pod/bounded", "--timeout=30s")
	if got := a.K(t, "-n", "bounded", "get", "pod", "bounded", "-o", "jsonpath="+path); got != "64Mi 50m" {
		t.Errorf("given %s", got)
	}
	out, err := a.KubectlInput(fmt.Sprintf(pod, "-not", ", resources: {limits: {memory: 1Gi}}"), "apply", "-f", "-")
	if err == nil || !strings.Contains(out, "maximum memory usage per Container is 128Mi, but limit is 1Gi") {
		t.Errorf("%v: %s", err, out)
	}
}

func resourceQuota(t *testing.T, a applied) {
	a.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: within, namespace: shared}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '100000'], resources: {requests: {cpu: 60m}, limits: {memory: 64Mi}}}]
`)
	a.K(t, "-n", "shared", "wait", "--for=condition=ready", "pod/within", "--timeout=30s")
	harness.Eventually(t, 20*time.Second, func() string {
		out := a.K(t, "-n", "shared", "get", "quota", "team")
		if !strings.Contains(out, "count/configmaps: 1/5, pods: 1/2, requests.cpu: 60m/100m") || !strings.Contains(out, "limits.memory: 64Mi/128Mi") {
			return "got " + out
		}
		return ""
	})
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: beyond, namespace: shared}
spec: {%scontainers: [{name: a, image: 'busybox:1.35', command: [sleep, '100000'], resources: {requests: {cpu: %s}%s}}]}
`
	for _, c := range []struct{ class, cpu, limits, want string }{
		{"", "60m", ", limits: {memory: 1Mi}", "exceeded quota: team, requested: requests.cpu=60m, used: requests.cpu=60m, limited: requests.cpu=100m"},
		{"", "10m", "", "failed quota: team: must specify limits.memory for: a"},
		{"priorityClassName: system-node-critical, ", "1m", ", limits: {memory: 1Mi}", "exceeded quota: critical, requested: pods=1, used: pods=0, limited: pods=0"},
	} {
		out, err := a.KubectlInput(fmt.Sprintf(pod, c.class, c.cpu, c.limits), "apply", "-f", "-")
		if err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %s\nwant %s", err, out, c.want)
		}
	}
	// One that ends makes room.
	a.Apply(t, fmt.Sprintf(pod, "terminationGracePeriodSeconds: 0, ", "40m", ", limits: {memory: 64Mi}"))
	used := func(want string) {
		harness.Eventually(t, 20*time.Second, func() string {
			if out := a.K(t, "-n", "shared", "get", "quota", "team"); !strings.Contains(out, want) {
				return "got " + out
			}
			return ""
		})
	}
	used("pods: 2/2, requests.cpu: 100m/100m")
	a.K(t, "-n", "shared", "delete", "pod", "beyond", "--wait")
	used("pods: 1/2, requests.cpu: 60m/100m")
}
