// Package fields shows fields of a Pod at work that no other scenario is
// about.
package fields

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func TestFields(t *testing.T) {
	c := harness.Started(t)
	t.Run("beside each other", func(t *testing.T) {
		for name, f := range map[string]func(*testing.T, *harness.Carob){
			"names and owners": namesAndOwners, "working directory": workingDirectory, "termination messages": messages,
			"http probes and hooks": httpActions, "grpc probes": grpcProbes, "thresholds": thresholds,
			"projected modes": projectedModes, "service links": serviceLinks, "defaults": defaults,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, c)
			})
		}
	})
	// A taint would hold the pods of the others.
	t.Run("tolerations", func(t *testing.T) { tolerations(t, c) })
}

func becomes(t *testing.T, c *harness.Carob, what, name, path, want string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		got, err := c.Kubectl("get", what, name, "-o", "jsonpath="+path)
		if err != nil {
			return "got " + got
		}
		if got != want {
			return name + ": " + path + " is " + got + ", want " + want
		}
		return ""
	})
}

func namesAndOwners(t *testing.T, c *harness.Carob) {
	c.Apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owner}\n")
	uid := c.Get(t, "configmap", "owner", "{.metadata.uid}")
	out, err := c.KubectlInput(`
apiVersion: v1
kind: Pod
metadata:
  generateName: made-
  finalizers: [example.com/wait]
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: `+uid+`, controller: true, blockOwnerDeletion: true}]
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '100000']}]
`, "create", "-o", "name", "-f", "-")
	name := strings.TrimPrefix(strings.TrimSpace(out), "pod/")
	if err != nil || !strings.HasPrefix(name, "made-") || len(name) != len("made-")+5 {
		t.Fatalf("create: %v %q", err, out)
	}
	c.WaitReady(t, name)
	c.K(t, "delete", "configmap", "owner", "--cascade=foreground", "--wait=false")
	becomes(t, c, "pod", name, "{.status.phase} {.metadata.finalizers}", `Failed ["example.com/wait"]`)
	if got := c.Get(t, "configmap", "owner", "{.metadata.finalizers}"); got != `["foregroundDeletion"]` {
		t.Errorf("the owner waits with %s", got)
	}
	c.K(t, "patch", "pod", name, "--type=json", "-p", `[{"op": "remove", "path": "/metadata/finalizers"}]`)
	c.K(t, "wait", "--for=delete", "--timeout=60s", "configmap/owner", "pod/"+name)
}

func workingDirectory(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: place}
spec:
  restartPolicy: Never
  containers:
    - {name: there, image: 'busybox:1.35', command: [pwd], workingDir: /usr/bin}
    - {name: made, image: 'busybox:1.35', command: [pwd], workingDir: /made/for/it}
`)
	becomes(t, c, "pod", "place", "{.status.phase}", "Succeeded")
	if out := c.K(t, "logs", "place", "-c", "there") + c.K(t, "logs", "place", "-c", "made"); out != "/usr/bin\n/made/for/it\n" {
		t.Errorf("directories: %q", out)
	}
}

func messages(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: last-words}
spec:
  restartPolicy: Never
  containers:
    - {name: file, image: 'busybox:1.35', command: [sh, -c, 'echo to the log; printf good > /tmp/why; exit 3'], terminationMessagePath: /tmp/why}
    - {name: log, image: 'busybox:1.35', command: [sh, -c, 'echo from the log; exit 4'], terminationMessagePolicy: FallbackToLogsOnError}
    - {name: well, image: 'busybox:1.35', command: [echo, unsaid], terminationMessagePolicy: FallbackToLogsOnError}
    - {name: mute, image: 'busybox:1.35', command: [sh, -c, 'echo unsaid; exit 5'], terminationMessagePolicy: File}
    - {name: long, image: 'busybox:1.35', command: [sh, -c, 'head -c 5000 /dev/zero | tr "\0" x > /dev/termination-log']}
`)
	becomes(t, c, "pod", "last-words", "{.status.phase}", "Failed")
	for name, want := range map[string]string{
		"file": "3 Error good", "log": "4 Error from the log\n", "well": "0 Completed ", "mute": "5 Error ",
		"long": "0 Completed " + strings.Repeat("x", 4096),
	} {
		const path = `{.state.terminated.exitCode} {.state.terminated.reason} {.state.terminated.message}`
		if got := c.Get(t, "pod", "last-words", `{range .status.containerStatuses[?(@.name=="`+name+`")]}`+path+`{end}`); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func projectedModes(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: modes}
data: {a: first, b: second}
---
apiVersion: v1
kind: Pod
metadata: {name: modes}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: busybox:1.35
      command: [sh, -c, 'cd /all && stat -L -c "%n %a" a b name']
      volumeMounts: [{name: all, mountPath: /all}]
  volumes:
    - name: all
      projected:
        defaultMode: 0440
        sources:
          - configMap: {name: modes, items: [{key: a, path: a}, {key: b, path: b, mode: 0400}]}
          - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
`)
	becomes(t, c, "pod", "modes", "{.status.phase}", "Succeeded")
	if out := c.K(t, "logs", "modes"); out != "a 440\nb 400\nname 440\n" {
		t.Errorf("modes:\n%s", out)
	}
}

func serviceLinks(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: links}
spec:
  restartPolicy: Never
  enableServiceLinks: true
  containers: [{name: main, image: 'busybox:1.35', command: [sh, -c, 'env | grep _SERVICE_ | grep -v ^KUBERNETES_; true']}]
`)
	becomes(t, c, "pod", "links", "{.status.phase}", "Succeeded")
	if out := c.K(t, "logs", "links"); out != "" {
		t.Errorf("there are no Services, and yet: %s", out)
	}
}

// defaults: what a manifest says as it is anyway is accepted, and the pod named
// to a node runs without the scheduler.
func defaults(t *testing.T, c *harness.Carob) {
	c.Apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  nodeName: `+c.Get(t, "nodes", "-o=name", "{.items[0].metadata.name}")+`
  terminationGracePeriodSeconds: 0
  schedulerName: default-scheduler
  serviceAccount: default
  automountServiceAccountToken: false
  hostUsers: true
  shareProcessNamespace: false
  priority: 0
  preemptionPolicy: PreemptLowerPriority
  containers:
    - name: main
      image: busybox:1.35
      command: [sleep, '100000']
      volumeMounts: [{name: v, mountPath: /v, readOnly: true, mountPropagation: None, recursiveReadOnly: Disabled}]
      readinessProbe: {exec: {command: [/bin/true]}, periodSeconds: 1}
  volumes: [{name: v, emptyDir: {}}]
`)
	c.WaitReady(t, "plain")
	if out, err := c.Kubectl("exec", "plain", "--", "touch", "/v/x"); err == nil {
		t.Errorf("the volume is not read-only: %s", out)
	}
}

func tolerations(t *testing.T, c *harness.Carob) {
	node := c.Get(t, "nodes", "-o=name", "{.items[0].metadata.name}")
	c.K(t, "taint", "node", node, "example.com/kept=for-some:NoSchedule")
	const pod = `
apiVersion: v1
kind: Pod
metadata: {name: %}
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [#]
  containers: [{name: main, image: 'busybox:1.35', command: [sleep, '100000']}]
`
	for name, toleration := range map[string]string{
		"equal":   "{key: example.com/kept, value: for-some, effect: NoSchedule}",
		"exists":  "{key: example.com/kept, operator: Exists}",
		"all":     "{operator: Exists, tolerationSeconds: 60, effect: NoExecute}, {operator: Exists, effect: NoSchedule}",
		"other":   "{key: example.com/kept, operator: Equal, value: for-others, effect: NoSchedule}",
		"nothing": "",
	} {
		c.Apply(t, strings.NewReplacer("%", "tolerates-"+name, "#", toleration).Replace(pod))
	}
	for _, name := range []string{"equal", "exists", "all"} {
		c.WaitReady(t, "tolerates-"+name)
	}
	for _, name := range []string{"other", "nothing"} {
		becomes(t, c, "pod", "tolerates-"+name, `{.status.phase} {.status.conditions[?(@.type=="PodScheduled")].reason}`, "Pending Unschedulable")
	}
	c.K(t, "taint", "node", node, "example.com/kept-")
	c.WaitReady(t, "tolerates-nothing")
}

// file is a file of the host below dir, as a pod wrote it.
func file(dir, name string) string {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(data)
}
