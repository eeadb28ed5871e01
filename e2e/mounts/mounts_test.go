// Package mounts shows what pods mount and what they are called: host names,
// the propagation of mounts, volumes from images, variables from files and user
// namespaces.
package mounts

import (
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestMounts(t *testing.T) {
	c := harness.Started(t)
	t.Run("huge pages", func(t *testing.T) { hugePages(t, c) })
	for name, f := range map[string]func(*testing.T, *harness.Carob){
		"names": names, "variables from files": fileVariables, "propagation": propagation, "recursively read-only": readOnly, "trust bundles": trustBundles, "images": images,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, c)
		})
	}
}

// pod is a pod of one container with a shell script, and more of its spec.
func pod(name, script, spec string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
` + spec + `
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, '` + script + `']
`
}

// becomes waits until what kubectl tells of a pod contains want.
func becomes(t *testing.T, c *harness.Carob, name, path, want string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() string {
		got := c.Get(t, "pod", name, path)
		if !strings.Contains(got, want) {
			return name + ": " + path + " is " + got + ", want " + want
		}
		return ""
	})
}

// event waits for an event of a pod whose message begins with want.
func event(t *testing.T, c *harness.Carob, name, reason, want string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, func() string {
		got := c.K(t, "get", "events", "--field-selector", "involvedObject.name="+name+",reason="+reason, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, want) {
				return ""
			}
		}
		return "events of " + name + " for " + reason + ": " + got + ", want " + want
	})
}

const (
	phase   = "{.status.phase}"
	waiting = "{.status.containerStatuses[0].state.waiting.reason}: {.status.containerStatuses[0].state.waiting.message}"
)

func names(t *testing.T, c *harness.Carob) {
	const show = "hostname; cat /etc/hostname; echo $HOSTNAME; tail -n 1 /etc/hosts"
	c.Apply(t, pod("full", show, "  hostname: web\n  subdomain: site\n  setHostnameAsFQDN: true"))
	c.Apply(t, pod("overridden", show, "  hostname: web\n  subdomain: site\n  hostnameOverride: build.example.com"))
	long := strings.Repeat("s", 35)
	c.Apply(t, pod("lengthy", show, "  hostname: web\n  subdomain: "+long+"\n  setHostnameAsFQDN: true"))
	const full = "web.site.default.svc.cluster.local"
	for name, want := range map[string]string{
		"full":       full + "\n" + full + "\n" + full + "\n@\t" + full + "\tweb\n",
		"overridden": strings.Repeat("build.example.com\n", 3) + "@\tbuild.example.com\n",
	} {
		becomes(t, c, name, phase, "Succeeded")
		want = strings.ReplaceAll(want, "@", c.Get(t, "pod", name, "{.status.podIP}"))
		if got := c.K(t, "logs", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	event(t, c, "lengthy", "FailedCreatePodSandBox", "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain, "+
		"FQDN web."+long+".default.svc.cluster.local is too long (64 characters is the max, 65 characters requested)")
	becomes(t, c, "lengthy", phase+" {.status.containerStatuses[0].state.waiting.reason}", "Pending ContainerCreating")
}

func fileVariables(t *testing.T, c *harness.Carob) {
	const spec = `  volumes: [{name: made, emptyDir: {}}]
  initContainers:
    - {name: writer, image: 'busybox:1.35', command: [sh, -c, "printf \"A='one'\\nB='two\\nlines' # said\\n\" > /made/env"], volumeMounts: [{name: made, mountPath: /made}]}`
	ref := func(name, key, more string) string {
		return "        - {name: " + name + ", valueFrom: {fileKeyRef: {volumeName: made, path: env, key: " + key + more + "}}}\n"
	}
	c.Apply(t, pod("reads", "echo $FIRST; echo \"$SECOND\"; echo ${THIRD-none}", spec)+"      env:\n"+
		ref("FIRST", "A", "")+ref("SECOND", "B", "")+ref("THIRD", "C", ", optional: true"))
	c.Apply(t, pod("misses", "true", spec)+"      env:\n"+ref("THIRD", "C", ""))
	becomes(t, c, "reads", phase, "Succeeded")
	if got := c.K(t, "logs", "reads", "-c", "main"); got != "one\ntwo\nlines\nnone\n" {
		t.Errorf("variables: %q", got)
	}
	becomes(t, c, "misses", waiting, `CreateContainerConfigError: environment variable key "C" not found in file "`)
}
