package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func probes(t *testing.T, a applied) {
	a.becomes(t, 20*time.Second, "probes", "{.status.phase} {.status.containerStatuses[0].started}", "Running false")
	a.WaitReady(t, "probes")
	a.becomes(t, 30*time.Second, "probes", "{.status.containerStatuses[0].restartCount}", "1")
	if events := a.K(t, "get", "events", "--field-selector", "involvedObject.name=probes"); !strings.Contains(events, "Container web failed liveness probe, will be restarted") {
		t.Errorf("no Killing event:\n%s", events)
	}
	a.WaitReady(t, "probes")
}

// hooksDir is what the manifest writes to; the test moves it among its own.
const hooksDir = "/tmp/carob-hooks"

func hooks(t *testing.T, a applied) {
	a.WaitReady(t, "hooks")
	a.K(t, "delete", "pod", "hooks", "--timeout=60s")
	if data, err := os.ReadFile(filepath.Join(a.Dir, filepath.Base(hooksDir), "log")); err != nil || string(data) != "hello\ngoodbye\nquit\n" {
		t.Errorf("log: %q %v", data, err)
	}
	a.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: hooks}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: 'busybox:1.35', command: [sleep, '1']}]}\n")
}

func sidecar(t *testing.T, a applied) {
	a.becomes(t, 60*time.Second, "sidecar", "{.status.phase}", "Succeeded")
	a.logs(t, "sidecar", "work", "stored\n")
}

func gates(t *testing.T, a applied) {
	if out := a.K(t, "get", "pod", "gates", "--no-headers"); !strings.Contains(out, "SchedulingGated") {
		t.Error(out)
	}
	a.K(t, "patch", "pod", "gates", "--type=json", "-p", `[{"op": "remove", "path": "/spec/schedulingGates"}]`)
	const condition = `{.status.conditions[?(@.type=="Ready")].`
	a.becomes(t, 20*time.Second, "gates", `{.status.phase} `+condition+`status} `+condition+`reason}`, "Running False ReadinessGatesNotReady")
	harness.Eventually(t, 5*time.Second, func() string {
		out := a.K(t, "get", "pod", "gates", "-o", "wide")
		if !strings.Contains(out, "0/1") {
			return "got " + out
		}
		return ""
	})
}

func restartRules(t *testing.T, a applied) {
	// retry: once by its own rule, once with all the others.
	const counts = `{.status.initContainerStatuses[0].restartCount} {.status.containerStatuses[?(@.name=="retry")].restartCount} ` +
		`{.status.containerStatuses[?(@.name=="server")].restartCount} {.status.containerStatuses[?(@.name=="watcher")].restartCount}`
	a.becomes(t, 40*time.Second, "restart-rules", "{.status.phase} "+counts, "Running 1 2 1 1")
	a.becomes(t, 10*time.Second, "restart-rules", `{.status.containerStatuses[?(@.name=="server")].state.running.startedAt} `+
		`{.status.conditions[?(@.type=="AllContainersRestarting")].status}`,
		a.Get(t, "pod", "restart-rules", `{.status.containerStatuses[?(@.name=="server")].state.running.startedAt}`)+" False")
	a.becomes(t, 10*time.Second, "restart-rules", `{.status.containerStatuses[?(@.name=="retry")].state.terminated.reason}`, "Completed")
}
