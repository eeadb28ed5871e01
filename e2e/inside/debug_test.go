package inside

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// debugs: kubectl debug in its three forms. The pods it makes and the containers
// it adds are named by n.
func (k client) debugs(t *testing.T, n string) {
	const status = `{.status.ephemeralContainerStatuses[?(@.name=="%s")]`
	of := func(name, path string) string { return strings.ReplaceAll(status, "%s", name) + path + "}" }
	image := "--image=" + harness.Image
	x := onTerminal(t, 30, 100, k.command(context.Background(), "debug", "-it", "web", image, "--target=a", "-c", "tty"+n, "--", "sh"))
	x.sees("/ # ")
	// kubectl first tells a size that is one larger, so that the shell draws anew.
	x.types("ps -o args | grep htt[p]d; cat /proc/1/root/index.html; until stty size | grep -q '30 100'; do sleep 0.1; done; echo size-$?")
	x.sees("httpd -f -p 8080")
	x.sees("size-0")
	x.types("exit 5")
	x.ends()
	harness.Eventually(t, 20*time.Second, func() string {
		got := k.c.Get(t, "pod", "web", of("tty"+n, `.state.terminated.exitCode`)+of("tty"+n, `.restartCount`))
		if got == "50" {
			return ""
		}
		return got
	})
	if out := k.c.K(t, "logs", "web", "-c", "tty"+n); !strings.Contains(out, "httpd -f") {
		t.Errorf("logs:\n%s", out)
	}
	// One that goes on can be looked into, and ends with its pod.
	if _, errs, code := k.run(t, "", "debug", "web", image, "-c", "stays"+n, "--", "sleep", "3600"); code != 0 {
		t.Fatal(errs)
	}
	harness.Eventually(t, 20*time.Second, func() string {
		if k.c.Get(t, "pod", "web", of("stays"+n, `.state.running.startedAt`)) != "" {
			return ""
		}
		return k.c.K(t, "describe", "pod", "web")
	})
	if out, errs, code := k.run(t, "", "exec", "web", "-c", "stays"+n, "--", "ps", "-o", "pid,args"); code != 0 || strings.Contains(out, "httpd") || !strings.Contains(out, "1 sleep 3600") {
		t.Errorf("processes: %q %q %d", out, errs, code)
	}
	// Events about one pod are limited, as in Kubernetes: later ones are dropped.
	harness.Eventually(t, 20*time.Second, func() string {
		if n != "1" {
			return ""
		}
		e := k.c.K(t, "get", "events", "--field-selector", "involvedObject.fieldPath=spec.ephemeralContainers{stays"+n+"},reason=Started")
		if !strings.Contains(e, "Started") {
			return e
		}
		return ""
	})
	_, errs, code := k.run(t, "", "debug", "web", image, "--target=nobody", "-c", "none"+n)
	if code == 0 || !strings.Contains(errs, `targetContainerName: Not found: "nobody"`) {
		t.Errorf("%d %q", code, errs)
	}
}

// debugsNode: a pod on the node, which shows its files and processes.
func (k client) debugsNode(t *testing.T) {
	node := k.c.Get(t, "pod", "web", "{.spec.nodeName}")
	x := onTerminal(t, 30, 100, k.command(context.Background(), "debug", "node/"+node, "-it", "--image="+harness.Image, "--", "sh"))
	x.sees("/ # ")
	x.types("ls -d /host" + k.c.DataDir + "/admin.kubeconfig; ps -o args | grep -c 'carob u[p]'; echo is-$?")
	x.sees("/host" + k.c.DataDir + "/admin.kubeconfig\r\n")
	x.sees("is-0")
	x.types("exit")
	x.ends()
	out := k.c.K(t, "get", "pods", "-o", "name")
	for _, name := range strings.Fields(out) {
		if strings.HasPrefix(name, "pod/node-debugger-"+node) {
			k.c.K(t, "delete", name, "--timeout=60s", "--grace-period=0", "--force")
			return
		}
	}
	t.Errorf("no pod of the debugger: %s", out)
}
