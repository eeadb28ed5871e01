// Package input feeds carob what is wrong and checks that each mistake is
// named at the right place, and that nothing crashes.
package input

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func pod(spec string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec:\n" + spec
}

func TestRefusedByTheAPI(t *testing.T) {
	c := harness.Started(t)
	for name, tc := range map[string]struct {
		yaml string
		want []string
	}{
		"malformed YAML":     {"apiVersion: v1\nkind: Pod\n  bad: [\n", []string{"error", "yaml: line 3"}},
		"a tab in YAML":      {"apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n", []string{"error", "yaml: line"}},
		"malformed JSON":     {`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"`, []string{"error"}},
		"no YAML at all":     {"\x00\xff\xfe\x01", []string{"error"}},
		"nothing":            {"", []string{"no objects passed to apply"}},
		"a text":             {"just a text\n", []string{"error"}},
		"no kind":            {"apiVersion: v1\nmetadata: {name: x}\n", []string{"kind", "not set"}},
		"no version":         {"kind: Pod\nmetadata: {name: x}\n", []string{"apiVersion", "not set"}},
		"no name":            {"apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{name: a, image: x}]}\n", []string{"name"}},
		"unknown version":    {"apiVersion: v7\nkind: Pod\nmetadata: {name: x}\n", []string{`no matches for kind "Pod" in version "v7"`}},
		"kind of Kubernetes": {"apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", []string{`no matches for kind "Service" in version "v1"`}},
		"wrong type":         {pod("  containers: {name: a, image: x}\n"), []string{"containers"}},
		"number for text":    {pod("  containers: [{name: 5, image: x}]\n"), []string{"name"}},
		"unknown kind":       {"apiVersion: v1\nkind: Pud\nmetadata: {name: x}\n", []string{`no matches for kind "Pud"`}},
		"unknown field":      {pod("  containers: [{name: a, image: x, comand: [y]}]\n"), []string{`unknown field "spec.containers[0].comand"`}},
		"unsupported field":  {pod("  containers: [{name: a, image: x, volumeDevices: [{name: v, devicePath: /dev/x}]}]\n"), []string{"spec.containers[0].volumeDevices", "not supported yet"}},
		"bad quantity":       {pod("  containers: [{name: a, image: x, resources: {limits: {memory: lots}}}]\n"), []string{"quantit"}},
		"bad number":         {pod("  containers: [{name: a, image: x, resources: {requests: {cpu: '1,5'}}}]\n"), []string{"quantit"}},
		"negative quantity":  {pod("  containers: [{name: a, image: x, resources: {requests: {cpu: -1}}}]\n"), []string{`spec.containers[0].resources.requests[cpu]`, "must be greater than or equal to 0"}},
		"more than limited":  {pod("  containers: [{name: a, image: x, resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}]\n"), []string{"spec.containers[0].resources.requests", "must be less than or equal to memory limit"}},
		"unknown resource":   {pod("  containers: [{name: a, image: x, resources: {limits: {bananas: 1}}}]\n"), []string{"spec.containers[0].resources.limits[bananas]"}},
		"bad size limit":     {pod("  containers: [{name: a, image: x}]\n  volumes: [{name: v, emptyDir: {sizeLimit: big}}]\n"), []string{"quantit"}},
		"port twice":         {pod("  containers: [{name: a, image: x, ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]}]\n"), []string{"spec.containers[0].ports[1].hostPort", "Duplicate value"}},
		"port out of range":  {pod("  containers: [{name: a, image: x, ports: [{containerPort: 70000}]}]\n"), []string{"spec.containers[0].ports[0].containerPort", "between 1 and 65535"}},
		"duplicate names":    {pod("  containers: [{name: a, image: x}, {name: a, image: z}]\n"), []string{"spec.containers[1].name", "Duplicate value"}},
		"all at once":        {pod("  restartPolicy: Perhaps\n  containers: [{name: A_B, image: x}, {name: b}]\n"), []string{"spec.restartPolicy", "spec.containers[0].name", "spec.containers[1].image"}},
		"grace of readiness": {pod("  containers: [{name: a, image: x, readinessProbe: {exec: {command: [ls]}, terminationGracePeriodSeconds: 5}}]\n"), []string{"spec.containers[0].readinessProbe.terminationGracePeriodSeconds", "must not be set for readinessProbes"}},
		"no volume":          {pod("  containers: [{name: a, image: x, volumeMounts: [{name: v, mountPath: /v}]}]\n"), []string{"spec.containers[0].volumeMounts[0].name", "Not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := c.RunInput(tc.yaml, "apply", "-f", "-")
			if err == nil {
				t.Fatalf("it was accepted: %s", out)
			}
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %q in\n%s", w, out)
				}
			}
		})
	}
	// Of several objects in a file, the good ones are taken.
	both := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n---\n" + pod("  containers: []\n")
	if out, err := c.RunInput(both, "apply", "-f", "-"); err == nil || !strings.Contains(out, "configmap/good created") || !strings.Contains(out, "spec.containers") {
		t.Errorf("one of two: %v\n%s", err, out)
	}
	if out := c.K(t, "get", "pods"); !strings.Contains(out, "No resources") {
		t.Errorf("something was stored:\n%s", out)
	}
}

func TestAMissingConfigMapIsNamedAndWaitedFor(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: waits}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '1000'], volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, configMap: {name: later}}]}\n")
	harness.Eventually(t, 20*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "involvedObject.name=waits")
		if !strings.Contains(out, "FailedMount") || !strings.Contains(out, `configmap "later" not found`) {
			return "got " + out
		}
		return ""
	})
	harness.Eventually(t, 5*time.Second, func() string {
		if got := c.Get(t, "pod", "waits", "{.status.containerStatuses[0].state.waiting.reason}"); got != "ContainerCreating" {
			return "reason " + got
		}
		return ""
	})
	c.K(t, "create", "configmap", "later", "--from-literal=a=b")
	c.WaitReady(t, "waits")
}

func TestAnUnschedulablePodSaysWhy(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '1000'], resources: {requests: {cpu: '1000'}}}]}\n")
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: picky}\nspec: {terminationGracePeriodSeconds: 0, nodeSelector: {disk: fast}, containers: [{name: a, image: 'busybox:1.35', command: [sleep, '1000']}]}\n")
	for name, want := range map[string]string{"big": "0/1 nodes are available: 1 Insufficient cpu", "picky": "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector"} {
		harness.Eventually(t, 20*time.Second, func() string {
			if out := c.K(t, "get", "events", "--field-selector", "reason=FailedScheduling,involvedObject.name="+name); !strings.Contains(out, want) {
				return "got " + out
			}
			return ""
		})
	}
	c.K(t, "label", "node", "--all", "disk=fast")
	c.WaitReady(t, "picky")
}

func TestAStartErrorIsShown(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: typo}\nspec: {restartPolicy: Never, containers: [{name: a, image: 'busybox:1.35', command: [no-such-program]}]}\n")
	harness.Eventually(t, 30*time.Second, func() string {
		got := c.K(t, "get", "pod", "typo", "-o", "jsonpath={.status.phase} {.status.containerStatuses[0].state}")
		if !strings.Contains(got, "no-such-program") || !strings.HasPrefix(got, "Failed") {
			return "got " + got
		}
		return ""
	})
	got := c.Get(t, "pod", "typo", "{.status.containerStatuses[0].state.terminated.message}")
	if !strings.HasPrefix(got, "failed to create containerd task: failed to create shim task: OCI runtime create failed: ") {
		t.Errorf("message %q", got)
	}
}

func TestABrokenCNIConfigurationIsNamed(t *testing.T) {
	c := harness.New(t)
	dir := filepath.Join(c.Dir, "net.d")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "10-bad.conflist")
	if err := os.WriteFile(bad, []byte(`{"cniVersion": "1.0.0", "plugins": [`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.Run("check", "--cni-conf-dir", dir)
	if err == nil || !strings.Contains(out, "10-bad.conflist") {
		t.Errorf("check: %v\n%s", err, out)
	}
	c.Up(t)
	harness.Eventually(t, 20*time.Second, func() string {
		got := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status} {.items[0].status.conditions[?(@.type=="Ready")].message}`)
		if !strings.HasPrefix(got, "False") || !strings.Contains(got, "10-bad.conflist") {
			return "got " + got
		}
		return ""
	})
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 40*time.Second, func() string {
		got := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}`)
		if got != "True" {
			return "got " + got
		}
		return ""
	})
}
