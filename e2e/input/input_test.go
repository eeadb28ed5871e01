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
		"malformed YAML":    {"apiVersion: v1\nkind: Pod\n  bad: [\n", []string{"error"}},
		"unknown kind":      {"apiVersion: v1\nkind: Pud\nmetadata: {name: x}\n", []string{`no matches for kind "Pud"`}},
		"unknown field":     {pod("  containers: [{name: a, image: x, comand: [y]}]\n"), []string{`unknown field "spec.containers[0].comand"`}},
		"unsupported field": {pod("  containers: [{name: a, image: x, livenessProbe: {httpGet: {port: 80}}}]\n"), []string{"spec.containers[0].livenessProbe", "not supported yet"}},
		"bad quantity":      {pod("  containers: [{name: a, image: x, resources: {limits: {memory: lots}}}]\n"), []string{"quantit"}},
		"duplicate names":   {pod("  containers: [{name: a, image: x}, {name: a, image: z}]\n"), []string{"spec.containers[1].name", "Duplicate value"}},
		"all at once":       {pod("  restartPolicy: Perhaps\n  containers: [{name: A_B, image: x}, {name: b}]\n"), []string{"spec.restartPolicy", "spec.containers[0].name", "spec.containers[1].image"}},
		"no volume":         {pod("  containers: [{name: a, image: x, volumeMounts: [{name: v, mountPath: /v}]}]\n"), []string{"spec.containers[0].volumeMounts[0].name", "Not found"}},
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
			return out
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
				return out
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
			return got
		}
		return ""
	})
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
			return got
		}
		return ""
	})
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 40*time.Second, func() string {
		got := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}`)
		if got != "True" {
			return got
		}
		return ""
	})
}
