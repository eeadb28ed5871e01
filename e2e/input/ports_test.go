package input

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestAPortInUse(t *testing.T) {
	c := harness.Started(t)
	port := harness.FreePort(t)
	ports := fmt.Sprintf(", ports: [{containerPort: 80, hostPort: %s}]", port)
	c.Apply(t, onePod("holder", harness.Image, ports))
	c.WaitReady(t, "holder")

	c.Apply(t, onePod("waits", harness.Image, ports))
	const text = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports"
	eventsSay(t, c, "waits", "FailedScheduling "+text)
	if got := c.Get(t, "pod", "waits", `{.status.phase} {.status.conditions[?(@.type=="PodScheduled")].reason} {.status.conditions[?(@.type=="PodScheduled")].message}`); !strings.HasPrefix(got, "Pending Unschedulable "+text) {
		t.Errorf("status: %s", got)
	}

	node := c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	c.Apply(t, strings.Replace(onePod("forced", harness.Image, ports), "spec: {", "spec: {nodeName: "+node+", ", 1))
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.Get(t, "pod", "forced", "{.status.phase} {.status.reason} {.status.message}")
		if got != "Failed NodePorts Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports" {
			return "got " + got
		}
		return ""
	})
	eventsSay(t, c, "forced", "NodePorts ")

	c.K(t, "delete", "pod", "forced", "holder", "--timeout=60s")
	c.WaitReady(t, "waits")
}
