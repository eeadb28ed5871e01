//go:build vm

package vm

import (
	"strings"
	"testing"
)

// writer fills a volume of 4 MiB, first by half, then by more than it holds.
const writer = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: small}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 4Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: a
      image: busybox:1.35
      command: [sh, -c, 'dd if=/dev/zero of=/v/half bs=1M count=2 && ! dd if=/dev/zero of=/v/rest bs=1M count=4']
      volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: small}}]
`

// TestProjectQuota: the machine's disk is ext4 with project quotas.
func TestProjectQuota(t *testing.T) {
	m := Prepared(t, image)
	m.Apply(t, writer)
	Eventually(t, func() string {
		p := m.Pods(t)["writer"]
		switch p.Status.Phase {
		case "Succeeded":
			return ""
		case "Failed":
			t.Fatalf("the volume holds more than its capacity, or less: %s", m.Sh(t, "carob logs writer"))
		}
		return "writer is " + p.Status.Phase
	})
	log := m.Sh(t, "carob logs writer")
	if !strings.Contains(log, "Disk quota exceeded") && !strings.Contains(log, "No space left on device") {
		t.Errorf("it failed otherwise:\n%s", log)
	}
	if out := m.Sh(t, `carob get pv -o jsonpath='{.items[*].metadata.annotations.carob\.dev/capacity}'`); out != "enforced" {
		t.Errorf("the volume says its capacity is %q", out)
	}
	m.Sh(t, "carob delete pod/writer pvc/small")
	Eventually(t, func() string {
		return strings.TrimSpace(m.Sh(t, "carob get pv -o name; ls /var/lib/carob/volumes"))
	})
	m.Down(t)

	out, ok := m.Try("mkdir /root/quota && CAROB_QUOTA_DIR=/root/quota /root/localvolume.test -test.v -test.run TestCapacity")
	if !ok || !strings.Contains(out, "--- PASS: TestCapacity") {
		t.Errorf("the test of pkg/localvolume:\n%s", out)
	}
}
