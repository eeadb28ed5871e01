// Package workloads shows that workloads come to what they should whatever
// carob goes through meanwhile.
package workloads

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// How much there is to do: completions of the indexed and of the plain Job,
// replicas of the Deployment and of the StatefulSet.
const (
	pieces   = 12
	times    = 8
	replicas = 4
	members  = 2
	rounds   = 6
)

const workloads = `
apiVersion: batch/v1
kind: Job
metadata: {name: pieces}
spec:
  completionMode: Indexed
  completions: %[2]d
  parallelism: 3
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: c, image: 'busybox:1.35', command: [sh, -c, 'echo $JOB_COMPLETION_INDEX >>/out/pieces; sleep 0.3'], volumeMounts: [{name: out, mountPath: /out}]}
      volumes: [{name: out, hostPath: {path: %[1]s}}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: times}
spec:
  completions: %[3]d
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: c, image: 'busybox:1.35', command: [sh, -c, 'echo $(hostname) >>/out/times; sleep 0.2'], volumeMounts: [{name: out, mountPath: /out}]}
      volumes: [{name: out, hostPath: {path: %[1]s}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %[4]d
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'busybox:1.35', command: [sleep, '100000'], env: [{name: ROUND, value: first}]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: %[5]d
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'busybox:1.35', command: [sleep, '100000'], env: [{name: ROUND, value: first}]}]
`

func seed(t *testing.T) uint64 {
	t.Helper()
	if s := os.Getenv("CAROB_CRASH_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("CAROB_CRASH_SEED: %v", err)
		}
		return n
	}
	return uint64(time.Now().UnixNano())
}

func TestKillsLoseAndDoubleNothing(t *testing.T) {
	n := seed(t)
	t.Logf("seed: CAROB_CRASH_SEED=%d", n)
	rnd := rand.New(rand.NewPCG(n, 1)) //nolint:gosec // moments, not secrets
	c := harness.Started(t)
	out := filepath.Join(c.Dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Apply(t, fmt.Sprintf(workloads, out, pieces, times, replicas, members))
	for i := range rounds {
		value := fmt.Sprintf("ROUND=%d", i)
		c.K(t, "set", "env", "deployment/web", "statefulset/db", value)
		wait := time.Duration(rnd.IntN(1500)) * time.Millisecond
		t.Logf("round %d: kill after %v", i, wait)
		time.Sleep(wait)
		c.Kill(t)
		c.Up(t)
		bounds(t, c)
	}
	for _, job := range []string{"pieces", "times"} {
		c.K(t, "wait", "--for=condition=complete", "job/"+job, "--timeout=90s")
	}
	c.K(t, "rollout", "status", "deployment/web", "--timeout=90s")
	c.K(t, "rollout", "status", "statefulset/db", "--timeout=90s")
	finished(t, c, out)
	settled(t, c)
	c.K(t, "delete", "job,deployment,statefulset", "--all", "--timeout=60s")
	harness.Eventually(t, 60*time.Second, func() string { return strings.TrimSpace(c.K(t, "get", "pods", "-o", "name")) })
}

// bounds: at no time are there more pods than the rollout may have.
func bounds(t *testing.T, c *harness.Carob) {
	t.Helper()
	out := c.K(t, "get", "pods", "-l", "app=web", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{"\n"}{end}`)
	there := 0
	for line := range strings.Lines(out) {
		if len(strings.Fields(line)) == 1 {
			there++
		}
	}
	if there > replicas+1 {
		t.Errorf("%d pods of the Deployment:\n%s", there, out)
	}
}

// finished: every piece of work was done once, and counted once.
func finished(t *testing.T, c *harness.Carob, out string) {
	t.Helper()
	for job, want := range map[string]int{"pieces": pieces, "times": times} {
		data, err := os.ReadFile(filepath.Join(out, job))
		if err != nil {
			t.Fatal(err)
		}
		done := map[string]int{}
		for _, word := range strings.Fields(string(data)) {
			done[word]++
		}
		for word, n := range done {
			if n != 1 {
				t.Errorf("%s: %s was done %d times", job, word, n)
			}
		}
		if len(done) != want {
			t.Errorf("%s: done were %v", job, slices.Sorted(maps.Keys(done)))
		}
		got := c.Get(t, "job", job, "{.status.succeeded} {.status.failed} {.status.active} {.status.uncountedTerminatedPods}")
		if got != fmt.Sprintf("%d   {}", want) {
			t.Errorf("%s: status %q, failed pods: %s", job, got,
				c.K(t, "get", "pods", "-l", "job-name="+job, "--field-selector", "status.phase=Failed", "-o", "jsonpath={.items[*].status}"))
		}
		if names := strings.Fields(c.K(t, "get", "pods", "-l", "job-name="+job, "-o", "name")); len(names) != want {
			t.Errorf("%s: %d pods", job, len(names))
		}
	}
}

// settled: just the pods that are wanted are there, of the last version.
func settled(t *testing.T, c *harness.Carob) {
	t.Helper()
	const path = `jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].env[0].value}={.status.phase} {end}`
	harness.Eventually(t, 30*time.Second, func() string {
		web := strings.Fields(c.K(t, "get", "pods", "-l", "app=web", "-o", path))
		last := fmt.Sprintf("=%d=Running", rounds-1)
		if len(web) != replicas || slices.ContainsFunc(web, func(p string) bool { return !strings.HasSuffix(p, last) }) {
			return fmt.Sprint(web)
		}
		db := c.K(t, "get", "pods", "-l", "app=db", "-o", path)
		if want := fmt.Sprintf("db-0%[1]s db-1%[1]s ", last); db != want {
			return "got " + db
		}
		return ""
	})
}
