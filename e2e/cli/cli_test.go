// Package cli checks the commands: carob's own, kubectl's built in, and the
// kubectl that a distribution ships.
package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const sleeper = "apiVersion: v1\nkind: Pod\nmetadata: {name: sleeper, labels: {app: s}}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: a, image: 'busybox:1.35', command: [sh, -c, 'echo hello; exec sleep 100000']}, {name: b, image: 'busybox:1.35', command: [sh, -c, 'echo world; exec sleep 100000']}]}\n"

func TestVerbsOfBothClients(t *testing.T) {
	c := harness.Started(t)
	file := filepath.Join(c.Dir, "sleeper.yaml")
	if err := os.WriteFile(file, []byte(sleeper), 0o600); err != nil {
		t.Fatal(err)
	}
	type client struct {
		name string
		run  func(args ...string) (string, error)
	}
	debian := func(args ...string) (string, error) { return c.DebianKubectl(t, args...) }
	for _, k := range []client{{"built in", c.Run}, {"kubectl", c.Kubectl}, {"Debian's kubectl", debian}} {
		t.Run(k.name, func(t *testing.T) {
			must := func(want string, args ...string) {
				t.Helper()
				out, err := k.run(args...)
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("%s: %v, want %q in\n%s", strings.Join(args, " "), err, want, out)
				}
			}
			must("pod/sleeper created", "apply", "-f", file)
			must("condition met", "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
			must("pod/sleeper unchanged", "apply", "-f", file)
			must("sleeper   2/2     Running   0", "get", "pods")
			must("NOMINATED NODE", "get", "pods", "-o", "wide")
			must("sleeper", "get", "pods", "-l", "app=s", "--field-selector", "status.phase=Running", "-o", "name")
			must("Scheduled", "describe", "pod", "sleeper")
			must("hello\n", "logs", "sleeper", "-c", "a")
			must("world\n", "logs", "sleeper", "--all-containers")
			must("containers", "explain", "pod.spec")
			must("Ready", "get", "nodes")
			must("pod/sleeper labeled", "label", "pod", "sleeper", "x=y")
			must("pod/sleeper annotated", "annotate", "pod", "sleeper", "x=y")
			must("configmap/settings created", "create", "configmap", "settings", "--from-literal=a=b")
			must("secret/login created", "create", "secret", "generic", "login", "--from-literal=a=b")
			must("namespace/other created", "create", "namespace", "other")
			must("configmap/settings patched", "patch", "configmap", "settings", "-p", `{"data":{"a":"c"}}`)
			must("c", "get", "configmap", "settings", "-o", "jsonpath={.data.a}")
			must("serverside-applied", "apply", "--server-side", "--force-conflicts", "-f", file)
			must("Started", "get", "events", "--field-selector", "involvedObject.name=sleeper")
			must("deleted", "delete", "configmap/settings", "secret/login")
			must("deleted", "delete", "namespace", "other", "--timeout=60s")
			must("deleted", "delete", "pod", "sleeper", "--timeout=60s")
			must("No resources found", "get", "pods")
			must("pods", "api-resources")
		})
	}
	t.Run("diff and events", func(t *testing.T) {
		c.Must(t, "apply", "-f", file)
		changed := strings.Replace(sleeper, "app: s", "app: other", 1)
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := c.Run("diff", "-f", file)
		if err == nil || !strings.Contains(out, "+    app: other") {
			t.Errorf("diff: %v\n%s", err, out)
		}
		if out := c.Must(t, "events"); !strings.Contains(out, "Scheduled") {
			t.Errorf("events:\n%s", out)
		}
	})
}

func TestVersionCompletionAndHelp(t *testing.T) {
	c := harness.New(t)
	var v struct{ Carob, Commit string }
	out := c.Must(t, "version", "--client", "-o", "json")
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Carob == "" || v.Commit == "" {
		t.Errorf("version: %v\n%s", err, out)
	}
	if out, err := c.Run("version", "--kubeconfig", "/dev/null"); err == nil || !strings.Contains(out, "carob "+v.Carob) {
		t.Errorf("version without a server: %v\n%s", err, out)
	}
	if out := c.Must(t, "completion", "bash"); !strings.Contains(out, "__start_carob") {
		t.Errorf("completion does not complete carob:\n%.500s", out)
	}
	if out := c.Must(t, "help"); !strings.Contains(out, "carob up") {
		t.Errorf("help:\n%.500s", out)
	}
}

func TestCheck(t *testing.T) {
	c := harness.New(t)
	out := c.Must(t, "check")
	for _, w := range []string{"root", "cgroups", "containerd", "runc", "CNI plugins", "address", "hostUsers: false"} {
		if !strings.Contains(out, w) {
			t.Errorf("no line about %s:\n%s", w, out)
		}
	}
	out, err := c.Run("check", "--cni-bin-dir", c.Dir, "--containerd-address", filepath.Join(c.Dir, "none.sock"))
	if err == nil || !strings.Contains(out, "FAIL") || !strings.Contains(out, "containernetworking-plugins") {
		t.Errorf("a machine without plugins: %v\n%s", err, out)
	}
}

func TestImages(t *testing.T) {
	c := harness.Started(t)
	if out := c.Must(t, "image", "list"); !strings.Contains(out, "docker.io/library/busybox:1.35") {
		t.Errorf("list:\n%s", out)
	}
	if out, err := c.Run("image", "import", "/dev/null"); err == nil || out == "" {
		t.Errorf("an empty archive was imported: %s", out)
	}
	if out, err := c.Run("image", "pull", "127.0.0.1:1/nothing:1"); err == nil || !strings.Contains(out, "127.0.0.1:1") {
		t.Errorf("a registry that is not there: %v\n%s", err, out)
	}
	c.Apply(t, sleeper)
	c.WaitReady(t, "sleeper")
	if out, err := c.Run("image", "remove", harness.Image); err == nil || !strings.Contains(out, "in use") {
		t.Errorf("an image in use was removed: %v\n%s", err, out)
	}
	c.K(t, "delete", "pod", "sleeper", "--timeout=60s")
	// Without a grace period the object goes first, its containers follow.
	harness.Eventually(t, 20*time.Second, func() string {
		if out, err := c.Run("image", "remove", harness.Image); err != nil {
			return "got " + out
		}
		return ""
	})
	if out := c.Must(t, "image", "list"); strings.Contains(out, "busybox") {
		t.Errorf("it is still there:\n%s", out)
	}
}

func TestTwoInstancesSideBySide(t *testing.T) {
	a, b := harness.Started(t), harness.Started(t)
	for _, c := range []*harness.Carob{a, b} {
		c.Apply(t, sleeper)
	}
	for _, c := range []*harness.Carob{a, b} {
		c.WaitReady(t, "sleeper")
	}
	if x, y := a.Get(t, "pod", "sleeper", "{.status.podIP}"), b.Get(t, "pod", "sleeper", "{.status.podIP}"); x == y {
		t.Errorf("both pods have the IP %s", x)
	}
	b.Must(t, "down")
	a.WaitReady(t, "sleeper")
	if out := a.K(t, "logs", "sleeper", "-c", "a"); out != "hello\n" {
		t.Errorf("log of the first instance's pod: %q", out)
	}
}

func TestUpRefusesASecondOfTheSameDirectory(t *testing.T) {
	c := harness.Started(t)
	out, err := exec.Command(c.Bin, "up", "--data-dir", c.DataDir, "--run-dir", c.RunDir, "--listen", "127.0.0.1:"+harness.FreePort(t)).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("in use by another carob")) {
		t.Errorf("a second carob: %v\n%s", err, out)
	}
	c.K(t, "get", "nodes")
}

func TestUpSaysWhyItCannotStart(t *testing.T) {
	c := harness.New(t)
	busy := harness.New(t)
	busy.Up(t)
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"port in use":            {[]string{"--listen", busy.Listen}, "in use"},
		"bad flag value":         {[]string{"--log-level", "loud"}, "log-level"},
		"missing config file":    {[]string{"--config", "/nowhere.yaml"}, "/nowhere.yaml"},
		"containerd that is not": {[]string{"--containerd-address", filepath.Join(c.Dir, "none.sock"), "--listen", c.Listen}, "none.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"up", "--data-dir", c.DataDir, "--run-dir", c.RunDir}, tc.args...)
			out, err := exec.Command(c.Bin, args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v, want %q in\n%s", err, tc.want, out)
			}
		})
	}
}
