// Package classes checks where pods go and which of them have to make room:
// affinity, spreading, priorities, runtime classes.
package classes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const container = `containers: [{name: c, image: 'busybox:1.35', command: [sleep, '100000']}]`

// everything has each field that says where a pod may be, and would be glad to
// be on the one node there is.
const everything = `
apiVersion: v1
kind: Pod
metadata: {name: everything, labels: {app: web, hash: one}}
spec:
  terminationGracePeriodSeconds: 0
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
        - matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}, {key: none, operator: DoesNotExist}]
          matchFields: [{key: metadata.name, operator: In, values: [%s]}]
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 5
        preference:
          matchExpressions: [{key: disk, operator: Exists}]
          matchFields: [{key: metadata.name, operator: NotIn, values: [another]}]
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        namespaces: [default]
        namespaceSelector: {matchLabels: {team: blue}}
        labelSelector: {matchLabels: {app: db}, matchExpressions: [{key: app, operator: Exists}]}
        matchLabelKeys: [hash]
      preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}, mismatchLabelKeys: [hash]}
  topologySpreadConstraints:
  - topologyKey: kubernetes.io/hostname
    maxSkew: 2
    minDomains: 1
    whenUnsatisfiable: DoNotSchedule
    nodeAffinityPolicy: Honor
    nodeTaintsPolicy: Honor
    labelSelector: {matchLabels: {app: web}, matchExpressions: [{key: app, operator: In, values: [web]}]}
    matchLabelKeys: [hash]
  ` + container

func simple(name, labels, spec string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {%s}}\nspec:\n  terminationGracePeriodSeconds: 0\n%s\n  %s\n", name, labels, spec, container)
}

// events are those about the pod.
func events(t *testing.T, c *harness.Carob, pod string) string {
	t.Helper()
	return c.K(t, "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
}

// said waits until an event about the pod says so.
func said(t *testing.T, c *harness.Carob, pod, want string) {
	t.Helper()
	harness.Eventually(t, 20*time.Second, func() string {
		out := events(t, c, pod)
		if !strings.Contains(out, want) {
			return "no " + want + " in\n" + out
		}
		return ""
	})
}

func TestClasses(t *testing.T) {
	c := harness.New(t)
	witness := filepath.Join(c.Dir, "witness")
	c.Args = append(c.Args, "--config", configured(t, c.Dir, witness))
	c.Up(t)
	c.Import(t)
	node := strings.TrimSpace(c.K(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"))
	t.Run("affinity", func(t *testing.T) { affinity(t, c, node) })
	t.Run("priority", func(t *testing.T) { priority(t, c, node) })
	t.Run("runtime class", func(t *testing.T) { runtimeClass(t, c, node, witness) })
	t.Run("another scheduler", func(t *testing.T) { anotherScheduler(t, c, node) })
	t.Run("budget", func(t *testing.T) { budget(t, c, node) })
	t.Run("taint", func(t *testing.T) { tainted(t, c, node) })
	t.Run("taint evicts", func(t *testing.T) { evicted(t, c, node) })
}

// budget: a pod that a PodDisruptionBudget keeps stays, and a more important one
// makes room.
func budget(t *testing.T, c *harness.Carob, node string) {
	c.Apply(t, "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: middle}\nvalue: 500\n---\n"+
		"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: kept}\nspec: {minAvailable: 1, selector: {matchLabels: {app: kept}}}\n")
	cpus, err := strconv.Atoi(c.Get(t, "node", node, "{.status.allocatable.cpu}"))
	if err != nil {
		t.Fatal(err)
	}
	part := func(name, labels, class string) string {
		return strings.Replace(simple(name, labels, "  priorityClassName: '"+class+"'\n"), "command: [sleep, '100000']",
			fmt.Sprintf("command: [sleep, '100000'], resources: {requests: {cpu: %dm}}", cpus*450), 1)
	}
	c.Apply(t, part("kept", "app: kept", "")+"---\n"+part("spare", "app: spare", "middle"))
	c.WaitReady(t, "kept")
	c.WaitReady(t, "spare")
	harness.Eventually(t, 20*time.Second, func() string {
		if got := c.Get(t, "poddisruptionbudget", "kept", "{.status.currentHealthy} {.status.disruptionsAllowed}"); got != "1 0" {
			return "budget: " + got
		}
		return ""
	})
	c.Apply(t, part("important", "a: b", "high"))
	c.WaitReady(t, "important")
	said(t, c, "spare", "Preempted: Preempted by pod "+c.Get(t, "pod", "important", "{.metadata.uid}"))
	if got := c.Get(t, "pod", "kept", "{.status.phase}{.metadata.deletionTimestamp}"); got != "Running" {
		t.Errorf("kept is %s", got)
	}
	c.K(t, "delete", "pod", "kept", "important")
}

// tainted: a node that ends pods takes none, whoever sends them.
func tainted(t *testing.T, c *harness.Carob, node string) {
	c.K(t, "taint", "nodes", node, "out=1:NoExecute")
	c.Apply(t, simple("expelled", "a: b", "  nodeName: "+node)+"---\n"+
		simple("tolerant", "a: b", "  nodeName: "+node+"\n  tolerations: [{key: out, operator: Exists}]"))
	c.WaitReady(t, "tolerant")
	// The node refuses it, or the controller is faster.
	harness.Eventually(t, 20*time.Second, func() string {
		out := events(t, c, "expelled")
		if !strings.Contains(out, "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate") &&
			!strings.Contains(out, "TaintManagerEviction: Marking for deletion Pod default/expelled") {
			return "neither refused nor deleted:\n" + out
		}
		return ""
	})
	c.K(t, "taint", "nodes", node, "out-")
	c.K(t, "delete", "pod", "--ignore-not-found", "tolerant", "expelled")
}

// evicted: a taint ends the pods that run, those at once that do not tolerate
// it, and those later that do for a while.
func evicted(t *testing.T, c *harness.Carob, node string) {
	tolerates := func(more string) string {
		return "  tolerations: [{key: gone, operator: Exists, effect: NoExecute" + more + "}]"
	}
	c.Apply(t, simple("strict", "a: b", "")+"---\n"+simple("patient", "a: b", tolerates(", tolerationSeconds: 3"))+"---\n"+
		simple("patienter", "a: b", tolerates(", tolerationSeconds: 300"))+"---\n"+simple("content", "a: b", tolerates("")))
	for _, pod := range []string{"strict", "patient", "patienter", "content"} {
		c.WaitReady(t, pod)
	}
	start := time.Now()
	c.K(t, "taint", "node", node, "gone=1:NoExecute")
	for _, pod := range []string{"strict", "patient"} {
		harness.Eventually(t, 20*time.Second, func() string { return c.K(t, "get", "pod", "--ignore-not-found", pod) })
		said(t, c, pod, "TaintManagerEviction: Marking for deletion Pod default/"+pod)
	}
	if took := time.Since(start); took < 3*time.Second {
		t.Errorf("patient was gone after %v", took)
	}
	c.K(t, "taint", "node", node, "gone-")
	said(t, c, "patienter", "TaintManagerEviction: Cancelling deletion of Pod default/patienter")
	for _, pod := range []string{"patienter", "content"} {
		if got := c.Get(t, "pod", pod, "{.status.phase}{.metadata.deletionTimestamp}"); got != "Running" {
			t.Errorf("%s is %s", pod, got)
		}
	}
	if out := events(t, c, "content"); strings.Contains(out, "TaintManagerEviction") {
		t.Errorf("content was told of:\n%s", out)
	}
	c.K(t, "delete", "pod", "patienter", "content")
}

func affinity(t *testing.T, c *harness.Carob, node string) {
	c.Apply(t, fmt.Sprintf(everything, node))
	const tail = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	said(t, c, "everything", "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't match pod affinity rules. "+tail)
	// What it waits for comes.
	c.Apply(t, simple("db", "app: db, hash: one", ""))
	c.WaitReady(t, "everything")
	if got := c.Get(t, "pod", "everything", "{.spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchExpressions[1]}"); got != `{"key":"hash","operator":"In","values":["one"]}` {
		t.Errorf("merged %s", got)
	}
	// It does not want one of another hash near.
	c.Apply(t, simple("stranger", "app: db, hash: two", ""))
	said(t, c, "stranger", "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. "+
		"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	c.Apply(t, simple("elsewhere", "a: b", "  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [another]}]}]}}}"))
	said(t, c, "elsewhere", "FailedScheduling: 0/1 nodes are available: 1 node(s) didn't satisfy plugin(s) [NodeAffinity]. "+tail)
	// One that was given to the node past the scheduler finds the door shut.
	c.Apply(t, simple("forced", "a: b", "  nodeName: "+node+"\n  nodeSelector: {disk: none}"))
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.Get(t, "pod", "forced", "{.status.phase} {.status.reason} {.status.message}")
		if got != "Failed NodeAffinity Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector" {
			return "got " + got
		}
		return ""
	})
	c.K(t, "delete", "pod", "forced", "everything", "stranger", "elsewhere", "db")
}

func priority(t *testing.T, c *harness.Carob, node string) {
	c.Apply(t, "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n")
	c.Apply(t, "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: polite}\nvalue: 900\npreemptionPolicy: Never\n")
	// Each of them takes more than half of the node.
	big := func(name, spec string) string {
		return simple(name, "a: b", spec) + "  " // the container's resources follow
	}
	cpu := c.Get(t, "node", node, "{.status.allocatable.cpu}")
	ask := func(text string) string {
		return strings.Replace(text, "command: [sleep, '100000']", "command: [sleep, '100000'], resources: {requests: {cpu: "+cpu+"}}", 1)
	}
	c.Apply(t, ask(big("low", "")))
	c.WaitReady(t, "low")
	c.Apply(t, ask(big("polite", "  priorityClassName: polite\n")))
	said(t, c, "polite", "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.")
	c.K(t, "delete", "pod", "polite")
	uid := c.Get(t, "pod", "low", "{.metadata.uid}")
	c.Apply(t, ask(big("high", "  priorityClassName: high\n")))
	c.WaitReady(t, "high")
	if got := c.Get(t, "pod", "high", "{.spec.priority} {.spec.preemptionPolicy} {.status.nominatedNodeName}"); got != "1000 PreemptLowerPriority " {
		t.Errorf("high has %q", got)
	}
	said(t, c, "high", "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node "+node+", preempting 1 victims")
	said(t, c, "low", "Preempted: Preempted by pod "+c.Get(t, "pod", "high", "{.metadata.uid}")+" on node "+node)
	if out, err := c.Kubectl("get", "pod", "low", "-o", "jsonpath={.metadata.uid}"); err == nil && strings.Contains(out, uid) {
		t.Errorf("low is still there: %s", out)
	}
	if out, err := c.KubectlInput(simple("none", "a: b", "  priorityClassName: none"), "apply", "-f", "-"); err == nil ||
		!strings.Contains(out, `pods "none" is forbidden: no PriorityClass with name none was found`) {
		t.Errorf("%v %s", err, out)
	}
	c.K(t, "delete", "pod", "high")
}

func anotherScheduler(t *testing.T, c *harness.Carob, node string) {
	c.Apply(t, simple("foreign", "a: b", "  schedulerName: another"))
	c.Apply(t, simple("usual", "a: b", ""))
	c.WaitReady(t, "usual")
	if got := c.Get(t, "pod", "foreign", "{.status.phase} {.spec.nodeName} {.status.conditions}"); got != "Pending  " {
		t.Errorf("foreign: %q", got)
	}
	// The other scheduler binds it.
	binding := fmt.Sprintf(`{"apiVersion":"v1","kind":"Binding","metadata":{"name":"foreign"},"target":{"kind":"Node","name":"%s"}}`, node)
	if out, err := c.KubectlInput(binding, "create", "--raw", "/api/v1/namespaces/default/pods/foreign/binding", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	c.WaitReady(t, "foreign")
	c.K(t, "delete", "pod", "foreign", "usual")
}

// configured writes a configuration with a second runtime: one that leaves a
// witness of what it was told about containers, and then is runc.
func configured(t *testing.T, dir, witness string) string {
	t.Helper()
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	wrapper, config := filepath.Join(dir, "watched"), filepath.Join(dir, "config.yaml")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = features ] || echo \"$@\" >> %s\nexec %s \"$@\"\n", witness, runc)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil { //nolint:gosec // it has to be executed
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte("runtimes: {watched: {type: io.containerd.runc.v2, binary: "+wrapper+"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

func runtimeClass(t *testing.T, c *harness.Carob, node, witness string) {
	c.Apply(t, "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: slow}\nhandler: watched\n"+
		"overhead: {podFixed: {cpu: 100m, memory: 16Mi}}\nscheduling: {nodeSelector: {kubernetes.io/os: linux}}\n")
	c.Apply(t, "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: nowhere}\nhandler: none\n")
	if got := c.Get(t, "node", node, "{.status.runtimeHandlers[*].name}"); strings.TrimSpace(got) != "runc watched" {
		t.Errorf("handlers %q", got)
	}
	c.Apply(t, simple("usual", "a: b", ""))
	c.WaitReady(t, "usual")
	if _, err := os.Stat(witness); err == nil {
		t.Error("a pod without a class ran with the second runtime")
	}
	// spec.overhead comes from the class, as the node selector does.
	c.Apply(t, simple("slow", "a: b", "  runtimeClassName: slow"))
	c.WaitReady(t, "slow")
	if got := c.Get(t, "pod", "slow", "{.spec.overhead.cpu} {.spec.overhead.memory} {.spec.nodeSelector}"); got != `100m 16Mi {"kubernetes.io/os":"linux"}` {
		t.Errorf("slow has %s", got)
	}
	uid := c.Get(t, "pod", "slow", "{.metadata.uid}")
	if said, err := os.ReadFile(witness); err != nil || !strings.Contains(string(said), "create") || !strings.Contains(string(said), uid) {
		t.Errorf("the second runtime was told %q, %v", said, err)
	}
	if out := c.K(t, "exec", "slow", "--", "echo", "inside"); !strings.Contains(out, "inside") {
		t.Error(out)
	}
	if out, err := c.KubectlInput(simple("none", "a: b", "  runtimeClassName: none"), "apply", "-f", "-"); err == nil ||
		!strings.Contains(out, `pods "none" is forbidden: pod rejected: RuntimeClass "none" not found`) {
		t.Errorf("%v %s", err, out)
	}
	c.Apply(t, simple("nowhere", "a: b", "  runtimeClassName: nowhere"))
	said(t, c, "nowhere", `no runtime for "none" is configured`)
	said(t, c, "nowhere", "FailedCreatePodSandBox: ")
	if got := c.Get(t, "pod", "nowhere", "{.status.phase}"); got != "Pending" {
		t.Errorf("nowhere is %s", got)
	}
	c.K(t, "delete", "pod", "usual", "slow", "nowhere")
}
