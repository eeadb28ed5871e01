//go:build vm

package vm

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// ofThePod throttles and protects as a whole.
const ofThePod = `---
apiVersion: v1
kind: Pod
metadata: {name: whole}
spec:
  terminationGracePeriodSeconds: 0
  resources: {requests: {memory: 20Mi}, limits: {memory: 40Mi}}
  containers: [{name: a, image: 'busybox:1.35', command: [sleep, '100000']}]
`

func TestMemoryQoS(t *testing.T) {
	m := New(t, image)
	m.Sh(t, "/etc/machine-state.sh > /root/state")
	m.Up(t, "--memory-throttling-factor 0.9 --memory-reservation-policy TieredReservation")
	m.Sh(t, "carob image import /root/image.tar")
	m.Apply(t, limited+ofThePod)
	m.WaitReady(t, "limited", "guaranteed", "whole")
	Eventually(t, func() string {
		if phase := m.Pods(t)["greedy"].Status.Phase; phase != "Failed" {
			return "greedy is " + phase
		}
		return ""
	})
	pods := m.Pods(t)
	group := "kubepods/burstable/pod" + pods["limited"].Metadata.UID + "/"
	web, idle := group+containerID(t, pods["limited"], "web")+"/", group+containerID(t, pods["limited"], "idle")+"/"
	guaranteed := "kubepods/pod" + pods["guaranteed"].Metadata.UID + "/"
	only := guaranteed + containerID(t, pods["guaranteed"], "only") + "/"
	whole := "kubepods/burstable/pod" + pods["whole"].Metadata.UID + "/"
	const mi = 1 << 20
	m.wantFiles(t, map[string]string{
		// 16Mi and 0.9 of the way to 32Mi and 64Mi, in whole pages.
		web + "memory.high": "31875072", idle + "memory.high": "62074880", group + "memory.high": "max",
		web + "memory.low": size(16 * mi), idle + "memory.low": size(16 * mi), group + "memory.low": size(32 * mi), group + "memory.min": "0",
		only + "memory.high": "max", only + "memory.min": size(16 * mi), guaranteed + "memory.min": size(16 * mi), guaranteed + "memory.low": "0",
		whole + "memory.high": size(38 * mi), whole + "memory.low": size(20 * mi),
		"kubepods/burstable/memory.low": size(52 * mi), "kubepods/memory.low": size(52 * mi), "kubepods/memory.min": size(68 * mi),
		"memory.low": size(52 * mi), "memory.min": size(68 * mi),
	})

	// What is written to files is memory that can be reclaimed.
	m.Sh(t, "carob exec limited -c idle -- dd if=/dev/zero of=/full bs=1M count=100")
	if events := m.groupFile(t, idle+"memory.events"); strings.Contains(events, "high 0\n") || !strings.Contains(events, "oom_kill 0") {
		t.Errorf("a container that reached its limit for throttling:\n%s", events)
	}

	patch := `{"spec":{"containers":[{"name":"web","resources":{"requests":{"memory":"20Mi"}}}]}}`
	m.Sh(t, "carob delete pod guaranteed whole; carob patch pod limited --subresource resize --patch '"+patch+"'")
	m.wantFiles(t, map[string]string{
		web + "memory.high": "32292864", web + "memory.low": size(20 * mi), group + "memory.low": size(36 * mi),
		"kubepods/burstable/memory.low": size(36 * mi), "kubepods/memory.min": size(36 * mi),
	})

	// Without the settings nothing is protected any more, and a resize takes the
	// rest away.
	m.Stop(t)
	m.Up(t)
	m.wantFiles(t, map[string]string{"kubepods/burstable/memory.low": "0", "kubepods/memory.min": "0", "memory.min": "0", "memory.low": "0"})
	m.Sh(t, "carob patch pod limited --subresource resize --patch '"+strings.Replace(patch, "20Mi", "24Mi", 1)+"'")
	m.wantFiles(t, map[string]string{web + "memory.high": "max", web + "memory.low": "0", group + "memory.low": "0"})
	m.Down(t)
}

func size(n int64) string { return strconv.FormatInt(n, 10) }

// wantFiles waits until the control files say so.
func (m *Machine) wantFiles(t *testing.T, want map[string]string) {
	t.Helper()
	Eventually(t, func() string {
		var wrong []string
		for file, value := range want {
			if got := m.groupFile(t, file); got != value {
				wrong = append(wrong, fmt.Sprintf("%s: %s, want %s", file, got, value))
			}
		}
		return strings.Join(wrong, "\n")
	})
}
