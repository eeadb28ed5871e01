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
		return "got " + got
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
			return "got " + e
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

// debugsCopy: kubectl debug leaves a pod as it is and makes another one like it,
// with other images, a container beside, or processes that see each other.
func (k client) debugsCopy(t *testing.T) {
	image := "--image=" + harness.Image
	x := onTerminal(t, 30, 100, k.command(context.Background(), "debug", "web", "-it", image, "--copy-to=copied", "-c", "beside", "--share-processes", "--", "sh"))
	x.sees("/ # ")
	x.types("ps -o args | grep htt[p]d; cat /proc/$(pidof httpd)/root/index.html; echo is-$?")
	x.sees("httpd -f -p 8080")
	x.sees("hello")
	x.sees("is-0")
	x.types("exit 3")
	x.ends()
	get := func(pod, path string) string { return k.c.Get(t, "pod", pod, path) }
	if got := get("copied", "{.spec.shareProcessNamespace} {.spec.containers[*].name}"); got != "true a ended beside" {
		t.Errorf("the copy: %s", got)
	}
	if got := get("web", "{.spec.shareProcessNamespace}{.spec.containers[*].name}"); got != "a ended" {
		t.Errorf("the pod itself: %s", got)
	}
	// Another image in place of one, another command in place of another.
	if _, errs, code := k.run(t, "", "debug", "web", "--copy-to=imaged", "--set-image=a=nowhere.example/none:1", "--share-processes=false"); code != 0 {
		t.Fatal(errs)
	}
	if got := get("imaged", "{.spec.shareProcessNamespace} {.spec.containers[*].image}"); got != "false nowhere.example/none:1 "+harness.Image {
		t.Errorf("with another image: %s", got)
	}
	harness.Eventually(t, 30*time.Second, func() string {
		const reason = "{.status.containerStatuses[0].state.waiting.reason}"
		if got := get("imaged", reason); !strings.HasPrefix(got, "ErrImagePull") && !strings.HasPrefix(got, "ImagePullBackOff") {
			return "waiting for " + got
		}
		return ""
	})
	x = onTerminal(t, 30, 100, k.command(context.Background(), "debug", "web", "-it", "--copy-to=commanded", "--container=a", "--set-image=*="+harness.Image, "--", "sh"))
	x.sees("/ # ")
	x.types("echo $WHO-$((40+2)); exit")
	x.sees("me-42")
	x.ends()
	// In place of the pod, which goes.
	k.c.Apply(t, strings.ReplaceAll(oneShell, "NAME", "replaced"))
	k.c.WaitReady(t, "replaced")
	if _, errs, code := k.run(t, "", "debug", "replaced", image, "--copy-to=replacing", "--replace", "--same-node", "-c", "beside", "--", "sleep", "3600"); code != 0 {
		t.Fatal(errs)
	}
	k.c.WaitReady(t, "replacing")
	harness.Eventually(t, 20*time.Second, func() string {
		if out, err := k.c.Kubectl("get", "pod", "replaced"); err == nil {
			return "got " + out
		}
		return ""
	})
	k.c.K(t, "delete", "pod", "copied", "imaged", "commanded", "replacing", "--grace-period=0", "--force")
}

const oneShell = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: sh, image: 'busybox:1.35', command: [sleep, '3600']}
`
