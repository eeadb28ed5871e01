package input

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func nodeReady(t *testing.T, c *harness.Carob, status, text string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		got := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status} {.items[0].status.conditions[?(@.type=="Ready")].message}`)
		if !strings.HasPrefix(got, status+" ") || !strings.Contains(got, text) {
			return "got " + got
		}
		return ""
	})
}

func TestContainerdGoesAwayForAWhile(t *testing.T) {
	s := harness.NewContainerd(t, "")
	c := harness.New(t)
	c.Args = append(c.Args, "--containerd-address", s.Socket())
	c.Up(t)
	c.Import(t)
	c.Apply(t, onePod("before", harness.Image, ""))
	c.WaitReady(t, "before")
	nodeReady(t, c, "True", "")
	id := c.Get(t, "pod", "before", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}")

	s.Stop(t)
	nodeReady(t, c, "False", "containerd")
	c.Apply(t, onePod("during", harness.Image, ""))
	if got := c.Get(t, "pod", "before", "{.status.phase}"); got != "Running" {
		t.Errorf("phase %s", got)
	}
	// grep fails as well when some other process ends while it looks.
	if out, err := exec.Command("sh", "-c", "grep -l pod"+c.Get(t, "pod", "before", "{.metadata.uid}")+" /proc/[0-9]*/cgroup").Output(); len(out) == 0 {
		t.Errorf("the container does not run any more: %v", err)
	}
	if out, err := c.Run("image", "list"); err == nil || !strings.Contains(out, s.Socket()) {
		t.Errorf("image list: %v\n%s", err, out)
	}

	s.Start(t)
	nodeReady(t, c, "True", "")
	c.WaitReady(t, "during")
	if now := c.Get(t, "pod", "before", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}"); now != id {
		t.Errorf("%s became %s", id, now)
	}
}
