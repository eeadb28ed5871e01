package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// stateful: each member of a StatefulSet has claims of its own, which the next
// member of that number finds; what becomes of them is the set's policy.
func stateful(t *testing.T, c *harness.Carob) {
	set := func(name, policy string) string {
		return `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ` + name + `}
spec:
  replicas: 2
  serviceName: ` + name + `
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: ` + policy + `
  selector: {matchLabels: {app: ` + name + `}}
  template:
    metadata: {labels: {app: ` + name + `}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: c, image: 'busybox:1.35', command: [sh, -c, 'echo $(hostname) >>/data/log; exec sleep 100000'], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
    - {metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}
---`
	}
	c.Apply(t, set("keeps", "{whenDeleted: Retain, whenScaled: Retain}")+set("drops", "{whenDeleted: Delete, whenScaled: Delete}"))
	for _, name := range []string{"keeps", "drops"} {
		c.K(t, "rollout", "status", "statefulset/"+name, "--timeout=60s")
		becomes(t, c, "pvc", "data-"+name+"-1", "{.status.phase} {.metadata.labels.app}", "Bound "+name)
	}
	event(t, c, "keeps", "SuccessfulCreate", "Create Claim data-keeps-0 Pod keeps-0 in StatefulSet keeps success")
	becomes(t, c, "pvc", "data-drops-0", "{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}", "StatefulSet/drops")
	if got := c.Get(t, "pvc", "data-keeps-0", "{.metadata.ownerReferences}"); got != "" {
		t.Errorf("a claim that is kept is owned: %s", got)
	}
	dir := filepath.Join(c.DataDir, "volumes", c.Get(t, "pvc", "data-keeps-0", "{.spec.volumeName}"))
	uid := c.Get(t, "pod", "keeps-0", "{.metadata.uid}")
	c.K(t, "delete", "pod", "keeps-0")
	harness.Eventually(t, 60*time.Second, func() string {
		data, err := os.ReadFile(filepath.Join(dir, "log"))
		if now := c.Get(t, "pod", "keeps-0", "{.metadata.uid}"); err != nil || now == uid || string(data) != "keeps-0\nkeeps-0\n" {
			return "the member's data: " + string(data)
		}
		return ""
	})
	c.K(t, "scale", "statefulset", "keeps", "drops", "--replicas=1")
	harness.Eventually(t, 60*time.Second, func() string {
		return strings.TrimSpace(c.K(t, "get", "pvc", "data-drops-1", "--ignore-not-found", "-o", "name"))
	})
	if got := c.Get(t, "pvc", "data-keeps-1", "{.status.phase}"); got != "Bound" {
		t.Errorf("a claim of a member that was given up: %s", got)
	}
	// The number comes back, with a new claim.
	c.K(t, "scale", "statefulset", "drops", "--replicas=2")
	c.K(t, "rollout", "status", "statefulset/drops", "--timeout=60s")
	c.K(t, "delete", "statefulset", "keeps", "drops")
	harness.Eventually(t, 60*time.Second, func() string {
		if got := c.K(t, "get", "pvc", "-l", "app in (keeps, drops)", "-o", "jsonpath={.items[*].metadata.name}"); got != "data-keeps-0 data-keeps-1" {
			return "claims: " + got
		}
		return ""
	})
	exists(t, filepath.Join(dir, "log"), "keeps-0\nkeeps-0\n")
	c.K(t, "delete", "pvc", "-l", "app=keeps")
}
