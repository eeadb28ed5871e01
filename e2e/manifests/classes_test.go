package manifests

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func priority(t *testing.T, a applied) {
	a.WaitReady(t, "important")
	if got := a.Get(t, "pod", "important", "{.spec.priority}"); got != "100000" {
		t.Errorf("priority %s", got)
	}
	if out := a.K(t, "get", "priorityclasses"); !strings.Contains(out, "system-node-critical") || !strings.Contains(out, "important") {
		t.Error(out)
	}
}

// One of the web servers runs beside the cache, whichever was first.
func affinity(t *testing.T, a applied) {
	a.WaitReady(t, "cache")
	a.WaitReady(t, "web-1")
	harness.Eventually(t, 20*time.Second, func() string {
		out := a.K(t, "describe", "pod", "web-2")
		if !strings.Contains(out, "1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.") {
			return "got " + out
		}
		return ""
	})
}

func runtimeClass(t *testing.T, a applied) {
	a.WaitReady(t, "classed")
	if got := a.Get(t, "pod", "classed", "{.spec.overhead.memory}"); got != "8Mi" {
		t.Errorf("overhead %s", got)
	}
}

func userNamespace(t *testing.T, a applied) {
	a.WaitReady(t, "user-namespace")
	a.logs(t, "user-namespace", "main", "I am user 0 here, and user 65536 or above on the node\n",
		"a network of my own: up\n", "the node's settings are closed to me\n", "a container inside sees its own /proc\n")
}
