package mounts

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const (
	pagesFile = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	pages     = 5
)

// reserve sets pages aside and returns how many there are; afterwards there are
// as many as before.
func reserve(t *testing.T) int {
	t.Helper()
	count := func() int {
		b, err := os.ReadFile(pagesFile)
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	had := count()
	t.Cleanup(func() {
		if err := os.WriteFile(pagesFile, []byte(strconv.Itoa(had)), 0o600); err != nil && had > 0 {
			t.Error(err)
		}
	})
	// A machine that has none to spare says so by the count.
	_ = os.WriteFile(pagesFile, []byte(strconv.Itoa(had+pages)), 0o600)
	return count()
}

// A pod gets two of the huge pages of the node, in a volume too, and no third.
// Where the node has none to give it waits for them.
func hugePages(t *testing.T, c *harness.Carob) {
	has := reserve(t)
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  volumes: [{name: pages, emptyDir: {medium: HugePages}}]
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'grep " /pages " /proc/mounts; echo "may have $PAGES MiB"; fallocate -l 2M /pages/a && fallocate -l 2M /pages/b && echo two; fallocate -l 2M /pages/c || echo no third']
      env: [{name: PAGES, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi, divisor: 1Mi}}}]
      volumeMounts: [{name: pages, mountPath: /pages}]
      resources:
        limits: {memory: 64Mi, hugepages-2Mi: 4Mi}
`)
	defer c.K(t, "delete", "pod", "huge")
	allocatable := ""
	harness.Eventually(t, 60*time.Second, func() string {
		capacity := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.capacity.hugepages-2Mi}`)
		allocatable = c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.allocatable.hugepages-2Mi}`)
		if want := strconv.Itoa(2*has) + "Mi"; has > 0 && capacity != want {
			return "capacity " + capacity + ", want " + want
		}
		return ""
	})
	if has < 2 || allocatable == "0" {
		becomes(t, c, "huge", "{.status.conditions[0].message}", "Insufficient hugepages-2Mi")
		return
	}
	becomes(t, c, "huge", "{.status.containerStatuses[0].state.terminated.reason}", "o")
	out := c.K(t, "logs", "huge")
	for _, want := range []string{"hugetlbfs", "pagesize=2M", "may have 4 MiB", "two", "no third"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
