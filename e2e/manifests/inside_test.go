package manifests

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func sharedProcesses(t *testing.T, a applied) {
	a.WaitReady(t, "shared-processes")
	harness.Eventually(t, 20*time.Second, func() string {
		if strings.TrimSpace(a.K(t, "logs", "shared-processes", "-c", "watcher")) != "" {
			return ""
		}
		return a.K(t, "exec", "shared-processes", "-c", "watcher", "--", "ps")
	})
}

func withInit(t *testing.T, a applied) {
	a.WaitReady(t, "init")
	ps := a.K(t, "exec", "init", "--", "ps", "-o", "pid,args")
	if !strings.Contains(ps, "1 /sbin/carob-init -- sh") {
		t.Errorf("processes:\n%s", ps)
	}
}
