package budget

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const rolled = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: rolled}
spec:
  replicas: %d
  selector: {matchLabels: {app: rolled}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: rolled}, annotations: {round: '%d'}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: a, image: 'busybox:1.35', command: [sleep, '100000']}
`

// TestRollout counts what is written while a rolling update replaces pods: for
// the new ones, the old ones, and the objects above them.
func TestRollout(t *testing.T) {
	b := budget(t)
	c := harness.Started(t)
	etcd := store(t, c)
	const pods = 4
	roll := func(round int) {
		c.Apply(t, fmt.Sprintf(rolled, pods, round))
		c.K(t, "rollout", "status", "deployment/rolled", "--timeout=90s")
		harness.Eventually(t, 30*time.Second, func() string {
			if names := c.K(t, "get", "pods", "-o", "name"); strings.Count(names, "pod/") != pods {
				return "got " + names
			}
			return ""
		})
	}
	roll(0)
	var written []counts
	for round := range 3 {
		from := revision(t, etcd)
		roll(round + 1)
		written = append(written, writes(t, etcd, from, revision(t, etcd), "rolled"))
	}
	t.Logf("a rollout of %d pods: %v", pods, least(written))
	hold(t, "rollout.etcdWrites", "writes to etcd in a rollout", least(written), b.Rollout.EtcdWrites, loose)
}
