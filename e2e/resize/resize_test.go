// Package resize shows resources that change while pods run, on real containerd.
package resize

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestResize(t *testing.T) {
	c := harness.Started(t)
	t.Run("pods", func(t *testing.T) {
		for name, f := range map[string]func(*testing.T, *harness.Carob){
			"in place": inPlace, "with a restart": withRestart, "below what is used": belowUse,
			"of the whole pod": wholePod, "refused": refused, "best effort": bestEffort, "while it initializes": whileInit,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, c)
			})
		}
	})
	c.K(t, "delete", "pods", "--all") // so that the room is known
	t.Run("waits for room", func(t *testing.T) { waits(t, c) })
}

// pod is a pod of one container with these resources, and more of its spec.
func pod(name, resources, more string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'trap "exit 0" TERM; while true; do sleep 0.2; done']
      resources: %s
%s`, name, resources, more)
}

func resize(c *harness.Carob, name, resources string) (string, error) {
	return c.Kubectl("patch", "pod", name, "--subresource", "resize", "--patch",
		`{"spec":{"containers":[{"name":"main","resources":`+resources+`}]}}`)
}

func mustResize(t *testing.T, c *harness.Carob, name, resources string) {
	t.Helper()
	if out, err := resize(c, name, resources); err != nil {
		t.Fatalf("resize of %s: %v\n%s", name, err, out)
	}
}

func becomes(t *testing.T, c *harness.Carob, name, path, want string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		if got := c.Get(t, "pod", name, path); got != want {
			return path + " is " + got + ", want " + want
		}
		return ""
	})
}

func hasEvent(t *testing.T, c *harness.Carob, name string, want ...string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+name, "-o",
			`jsonpath={range .items[*]}{.type} {.reason} {.message}{"\n"}{end}`)
		for _, w := range want {
			if !strings.Contains(out, w) {
				return "no " + w + " in\n" + out
			}
		}
		return ""
	})
}

// kernel reads what a container itself sees of its limits.
func kernel(t *testing.T, c *harness.Carob, name string) string {
	t.Helper()
	out, err := c.Kubectl("exec", name, "-c", "main", "--", "sh", "-c", `
		cd /sys/fs/cgroup
		if [ -e memory.max ]; then cat memory.max cpu.max; else
		cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; fi`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Join(strings.Fields(out), " ")
}

const (
	shown    = "{.status.containerStatuses[0].resources}"
	restarts = "{.status.containerStatuses[0].restartCount}"
	pending  = `{.status.conditions[?(@.type=="PodResizePending")].reason}`
	progress = `{.status.conditions[?(@.type=="PodResizeInProgress")].reason}`
	inWork   = `{.status.conditions[?(@.type=="PodResizeInProgress")].status}`
)

// inPlace: the same process gets more, and then less.
func inPlace(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("grows", `{requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}`, ""))
	c.WaitReady(t, "grows")
	id := c.Get(t, "pod", "grows", "{.status.containerStatuses[0].containerID}")
	for _, step := range []struct{ resources, status, kernel string }{
		{
			`{"requests":{"cpu":"150m","memory":"48Mi"},"limits":{"cpu":"400m","memory":"128Mi"}}`,
			`{"limits":{"cpu":"400m","memory":"128Mi"},"requests":{"cpu":"150m","memory":"48Mi"}}`, "134217728 40000 100000",
		},
		{
			`{"requests":{"cpu":"50m","memory":"16Mi"},"limits":{"cpu":"100m","memory":"32Mi"}}`,
			`{"limits":{"cpu":"100m","memory":"32Mi"},"requests":{"cpu":"50m","memory":"16Mi"}}`, "33554432 10000 100000",
		},
	} {
		mustResize(t, c, "grows", step.resources)
		becomes(t, c, "grows", shown, step.status)
		becomes(t, c, "grows", inWork, "")
		if got := kernel(t, c, "grows"); got != step.kernel {
			t.Errorf("the kernel has %s, want %s", got, step.kernel)
		}
	}
	hasEvent(t, c, "grows", "Normal ResizeStarted Pod resize started: {\"containers\":[{\"name\":\"main\"",
		"Normal ResizeCompleted Pod resize completed: {", `"generation":3}`)
	becomes(t, c, "grows", "{.metadata.generation} {.status.observedGeneration} {.status.containerStatuses[0].allocatedResources}",
		`3 3 {"cpu":"50m","memory":"16Mi"}`)
	if got := c.Get(t, "pod", "grows", "{.status.containerStatuses[0].containerID}"); got != id {
		t.Errorf("another container: %s, then %s", id, got)
	}
}

// withRestart: a container whose resizePolicy says so gets its memory with
// another attempt, and its CPU without; so does a sidecar.
func withRestart(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("again", `{requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}`,
		`      resizePolicy:
        - {resourceName: cpu, restartPolicy: NotRequired}
        - {resourceName: memory, restartPolicy: RestartContainer}
  initContainers:
    - name: side
      image: busybox:1.35
      restartPolicy: Always
      command: [sh, -c, 'trap "exit 0" TERM; while true; do sleep 0.2; done']
      resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}
      resizePolicy:
        - {resourceName: cpu, restartPolicy: NotRequired}
`))
	c.WaitReady(t, "again")
	mustResize(t, c, "again", `{"limits":{"cpu":"300m"}}`)
	becomes(t, c, "again", shown, `{"limits":{"cpu":"300m","memory":"64Mi"},"requests":{"cpu":"100m","memory":"32Mi"}}`)
	becomes(t, c, "again", restarts, "0")
	mustResize(t, c, "again", `{"limits":{"memory":"128Mi"}}`)
	becomes(t, c, "again", restarts, "1")
	becomes(t, c, "again", shown, `{"limits":{"cpu":"300m","memory":"128Mi"},"requests":{"cpu":"100m","memory":"32Mi"}}`)
	hasEvent(t, c, "again", "Normal Killing Container main resize requires restart")
	c.WaitReady(t, "again")
	if got := kernel(t, c, "again"); got != "134217728 30000 100000" {
		t.Errorf("the kernel has %s", got)
	}
	c.K(t, "patch", "pod", "again", "--subresource", "resize", "--patch",
		`{"spec":{"initContainers":[{"name":"side","resources":{"limits":{"cpu":"150m"}}}]}}`)
	becomes(t, c, "again", "{.status.initContainerStatuses[0].resources.limits.cpu} {.status.initContainerStatuses[0].restartCount}", "150m 0")
}

// whileInit: an init container is resized while it runs.
func whileInit(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: early}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: main, image: "busybox:1.35", command: [sleep, "100000"]}
  initContainers:
    - name: before
      image: busybox:1.35
      command: [sh, -c, 'until [ -e /tmp/go ]; do sleep 0.2; done']
      resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}
`)
	const running = "{.status.initContainerStatuses[0].state.running.startedAt}"
	harness.Eventually(t, 40*time.Second, func() string {
		if c.Get(t, "pod", "early", running) == "" {
			return "the init container does not run"
		}
		return ""
	})
	began := c.Get(t, "pod", "early", running)
	c.K(t, "patch", "pod", "early", "--subresource", "resize", "--patch",
		`{"spec":{"initContainers":[{"name":"before","resources":{"limits":{"cpu":"150m"}}}]}}`)
	becomes(t, c, "early", "{.status.initContainerStatuses[0].resources.limits.cpu} "+running, "150m "+began)
	c.K(t, "exec", "early", "-c", "before", "--", "touch", "/tmp/go")
	c.WaitReady(t, "early")
}

// belowUse: a memory limit below what is in use is not set, and the status says
// so until the resize is taken back.
func belowUse(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: full}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'head -c 50000000 /dev/zero > /shm/used; touch /tmp/full; sleep 100000']
      readinessProbe: {exec: {command: [cat, /tmp/full]}, periodSeconds: 1}
      resources: {requests: {memory: 16Mi}, limits: {memory: 100Mi}}
      volumeMounts: [{name: shm, mountPath: /shm}]
  volumes: [{name: shm, emptyDir: {medium: Memory}}]
`)
	c.WaitReady(t, "full")
	mustResize(t, c, "full", `{"limits":{"memory":"20Mi"}}`)
	becomes(t, c, "full", progress, "Error")
	message := c.Get(t, "pod", "full", `{.status.conditions[?(@.type=="PodResizeInProgress")].message}`)
	for _, want := range []string{
		"cannot decrease memory limits: [attempting to set pod memory limit (20971520) below current usage (",
		`, attempting to set container "main" memory limit (20971520) below current usage (`,
	} {
		if !strings.Contains(message, want) {
			t.Errorf("%q does not say %q", message, want)
		}
	}
	hasEvent(t, c, "full", "Warning ResizeError Pod resize error: {")
	if got := c.Get(t, "pod", "full", shown+restarts); got != `{"limits":{"memory":"100Mi"},"requests":{"memory":"16Mi"}}0` {
		t.Errorf("status: %s", got)
	}
	mustResize(t, c, "full", `{"limits":{"memory":"100Mi"}}`)
	becomes(t, c, "full", inWork, "")
}

// wholePod: the resources of the pod as a whole, beside those of its containers.
func wholePod(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("whole", `{}`, "  resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}\n"))
	c.WaitReady(t, "whole")
	c.K(t, "patch", "pod", "whole", "--subresource", "resize", "--patch",
		`{"spec":{"resources":{"requests":{"cpu":"150m"},"limits":{"cpu":"300m","memory":"96Mi"}}}}`)
	becomes(t, c, "whole", "{.status.resources} {.status.allocatedResources}",
		`{"limits":{"cpu":"300m","memory":"96Mi"},"requests":{"cpu":"150m","memory":"32Mi"}} {"cpu":"150m","memory":"32Mi"}`)
	becomes(t, c, "whole", inWork+restarts, "0")
	if got := kernel(t, c, "whole"); got != "100663296 30000 100000" {
		t.Errorf("the kernel has %s", got)
	}
}

// refused: what a resize cannot do, and what only a resize can.
func refused(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("fixed", `{requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}`, ""))
	c.WaitReady(t, "fixed")
	for resources, want := range map[string]string{
		`{"requests":{"cpu":"200m","memory":"64Mi"}}`: "Pod QOS Class may not change as a result of resizing",
		`{"requests":{"cpu":"300m"}}`:                 "must be less than or equal to cpu limit of 200m",
		`{"limits":{"memory":null}}`:                  "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
	} {
		if out, err := resize(c, "fixed", resources); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", resources, err, out)
		}
	}
	out, err := c.Kubectl("patch", "pod", "fixed", "--subresource", "resize", "--patch",
		`{"spec":{"containers":[{"name":"other","image":"busybox:1.35"}]}}`)
	if err == nil || !strings.Contains(out, "spec.containers: Forbidden: containers may not be added or removed on resize") {
		t.Errorf("another container: %v\n%s", err, out)
	}
	out, err = c.Kubectl("patch", "pod", "fixed", "--patch",
		`{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"300m"}}}]}}`)
	if err == nil || !strings.Contains(out, "pod updates may not change fields other than") {
		t.Errorf("an ordinary update: %v\n%s", err, out)
	}
	// Whatever else the subresource is given, it leaves.
	c.K(t, "patch", "pod", "fixed", "--subresource", "resize", "--patch", `{"spec":{"containers":[{"name":"main","image":"busybox:9"}]}}`)
	if got := c.Get(t, "pod", "fixed", "{.spec.containers[0].image} {.metadata.generation}"); got != "busybox:1.35 1" {
		t.Errorf("after a resize without resources: %s", got)
	}
}

// bestEffort: a container without resources says so.
func bestEffort(t *testing.T, c *harness.Carob) {
	c.Apply(t, pod("free", "{}", ""))
	c.WaitReady(t, "free")
	becomes(t, c, "free", shown+" {.status.resources} {.status.allocatedResources}", "{} {} ")
	if out, err := resize(c, "free", `{"requests":{"cpu":"10m"}}`); err == nil || !strings.Contains(out, "Pod QOS Class") {
		t.Errorf("a class from nothing: %v\n%s", err, out)
	}
}

// waits: what the node does not have is granted as soon as it has. A carob that
// is killed meanwhile knows what it granted, and restarts nothing.
func waits(t *testing.T, c *harness.Carob) {
	cpus, err := strconv.Atoi(c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].status.capacity.cpu}"))
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, pod("hog", fmt.Sprintf(`{requests: {cpu: %dm}}`, cpus*1000-1200), ""))
	c.Apply(t, pod("waits", `{requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 64Mi}}`, ""))
	c.WaitReady(t, "hog")
	c.WaitReady(t, "waits")
	id := c.Get(t, "pod", "waits", "{.status.containerStatuses[0].containerID}")
	// What the node will never have is refused.
	if out, err := resize(c, "waits", fmt.Sprintf(`{"requests":{"cpu":"%d"}}`, cpus+1)); err == nil ||
		!strings.Contains(out, fmt.Sprintf("node didn't have enough allocatable resources: cpu, requested: %d, allocatable: ", 1000*(cpus+1))) {
		t.Errorf("more than the node has: %v\n%s", err, out)
	}
	mustResize(t, c, "waits", `{"requests":{"cpu":"1500m"},"limits":{"memory":"96Mi"}}`)
	becomes(t, c, "waits", pending, "Deferred")
	message := c.Get(t, "pod", "waits", `{.status.conditions[?(@.type=="PodResizePending")].message}`)
	if !strings.HasPrefix(message, "Node didn't have enough resource: cpu, requested: 1500, used: ") {
		t.Errorf("message: %s", message)
	}
	hasEvent(t, c, "waits", `Warning ResizeDeferred Pod resize OutOfcpu: {"containers":[{"name":"main"`)

	c.Kill(t)
	c.Up(t)
	becomes(t, c, "waits", pending+inWork+shown+" {.status.containerStatuses[0].allocatedResources.cpu}",
		`Deferred{"limits":{"memory":"64Mi"},"requests":{"cpu":"100m","memory":"16Mi"}} 100m`)
	// What the node has to give counts both what was granted and what is asked.
	c.Apply(t, pod("third", `{requests: {cpu: 500m}}`, ""))
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.Get(t, "pod", "third", `{.status.conditions[?(@.type=="PodScheduled")].message}`)
		if !strings.Contains(got, "Insufficient cpu") {
			return "third: " + got
		}
		return ""
	})
	c.K(t, "delete", "pod", "third", "hog")
	becomes(t, c, "waits", pending+inWork+shown, `{"limits":{"memory":"96Mi"},"requests":{"cpu":"1500m","memory":"16Mi"}}`)
	if got := c.Get(t, "pod", "waits", "{.status.containerStatuses[0].containerID}"+restarts); got != id+"0" {
		t.Errorf("another container: %s, then %s", id, got)
	}
}
