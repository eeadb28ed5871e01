// Package folder keeps a folder of manifests applied by the built carob, which
// is killed while the folder changes.
package folder

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func settings(namespace, name, value string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: %s}\ndata: {k: %q}\n", name, namespace, value)
}

const web = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: web, image: 'busybox:1.35', command: [sleep, '1000'], %s}
`

func TestFolder(t *testing.T) {
	c := harness.New(t)
	dir := filepath.Join(c.Dir, "manifests")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	c.Args = append(c.Args, "--manifests", dir)
	// The namespace comes last.
	write(t, dir, "a.yaml", fmt.Sprintf(web, "env: []")+settings("shop", "a", "1"))
	write(t, dir, "z.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	c.Up(t)
	c.Import(t)
	harness.Eventually(t, 60*time.Second, func() string {
		if out, err := c.Kubectl("wait", "-n", "shop", "--for=condition=Available", "--timeout=60s", "deployment/web"); err != nil {
			return "got " + out // the folder is being applied
		}
		return ""
	})
	pod := strings.TrimSpace(c.K(t, "get", "pods", "-n", "shop", "-o", "name"))
	harness.Eventually(t, 20*time.Second, func() string {
		out, err := c.Run("manifests")
		if err != nil || !strings.Contains(out, "Deployment shop/web") {
			return fmt.Sprint(out, err)
		}
		return ""
	})

	// A mistake is told of, by file, line and field, and harms nobody.
	write(t, dir, "a.yaml", fmt.Sprintf(web, "imagee: x")+settings("shop", "a", "2"))
	harness.Eventually(t, 20*time.Second, func() string {
		out, err := c.Run("manifests")
		if err == nil || !strings.Contains(out, "a.yaml:11") || !strings.Contains(out, "spec.template.spec.containers[0].imagee: field not declared in schema") {
			return fmt.Sprint(out, err)
		}
		return ""
	})
	harness.Eventually(t, 20*time.Second, func() string {
		out := c.K(t, "get", "events", "--field-selector", "reason=ManifestWrong,involvedObject.kind=Node")
		if !strings.Contains(out, "a.yaml:11: spec.template.spec.containers[0].imagee") {
			return "got " + out
		}
		return ""
	})
	if now := c.Get(t, "-n=shop", "configmap/a", "{.data.k}"); now != "1" {
		t.Errorf("part of a wrong file was applied: %s", now)
	}

	kills(t, c, dir)
	if now := strings.TrimSpace(c.K(t, "get", "pods", "-n", "shop", "-o", "name")); now != pod {
		t.Errorf("the pod was %s and is %s", pod, now)
	}
	once(t, c)
}

// report returns what `carob manifests` knows, by object.
func report(c *harness.Carob) (map[string]string, error) {
	out, _ := c.Run("manifests", "-o", "json")
	var all []struct {
		Objects []struct{ Kind, Name, State, Error string }
	}
	if err := json.Unmarshal([]byte(out[:strings.LastIndex(out, "]")+1]), &all); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	rows := map[string]string{}
	for _, set := range all {
		for _, o := range set.Objects {
			rows[o.Kind+"/"+o.Name] = o.State + o.Error
		}
	}
	return rows, nil
}

// kills changes the folder, kills carob somewhere on the way and changes the
// folder while it is away. In the end the objects are what the files say.
func kills(t *testing.T, c *harness.Carob, dir string) {
	c.K(t, "create", "configmap", "-n", "shop", "foreign", "--from-literal=k=1")
	for round := range 2 {
		for i := range 12 {
			write(t, dir, fmt.Sprintf("m%d.yaml", i), settings("shop", fmt.Sprintf("m%d", i), fmt.Sprint(round)))
		}
		<-time.After(time.Duration(rand.IntN(1500)) * time.Millisecond)
		for i := range 6 {
			remove(t, dir, fmt.Sprintf("m%d.yaml", i))
		}
		<-time.After(time.Duration(rand.IntN(1500)) * time.Millisecond)
		c.Kill(t)
		for i := 6; i < 9; i++ {
			remove(t, dir, fmt.Sprintf("m%d.yaml", i))
		}
		// Broken while nobody looks, beside objects that move.
		write(t, dir, "a.yaml", "apiVersion: [")
		remove(t, dir, "m11.yaml")
		write(t, dir, "moved.yaml", settings("shop", "m11", fmt.Sprint(round)))
		c.Up(t)
		want := map[string]string{
			"Namespace/shop": "Applied", "ConfigMap/m9": "Applied", "ConfigMap/m10": "Applied", "ConfigMap/m11": "Applied",
			"Deployment/web": "Keptits file is wrong", "ConfigMap/a": "Keptits file is wrong",
		}
		harness.Eventually(t, 30*time.Second, func() string {
			rows, err := report(c)
			if err != nil {
				return err.Error()
			}
			delete(rows, "/") // the file's own
			if fmt.Sprint(rows) != fmt.Sprint(want) {
				return fmt.Sprint(rows)
			}
			return ""
		})
		write(t, dir, "a.yaml", fmt.Sprintf(web, "env: []")+settings("shop", "a", "3"))
		remove(t, dir, "moved.yaml")
		harness.Eventually(t, 30*time.Second, func() string {
			if out := c.K(t, "get", "configmaps", "-n", "shop", "-o", "jsonpath={range .items[*]}{.metadata.name}={.data.k} {end}"); out !=
				fmt.Sprintf("a=3 foreign=1 kube-root-ca.crt= m10=%d m9=%d ", round, round) {
				return "got " + out
			}
			return ""
		})
	}
}

// once applies and prunes another folder by hand.
func once(t *testing.T, c *harness.Carob) {
	dir := filepath.Join(c.Dir, "once")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.yaml", settings("default", "one", "1"))
	write(t, dir, "b.yaml", settings("default", "two", "1"))
	if out := c.Must(t, "apply", "-f", dir, "--prune"); !strings.Contains(out, "ConfigMap default/two applied") {
		t.Error(out)
	}
	remove(t, dir, "b.yaml")
	if out := c.Must(t, "apply", "-f", dir, "--prune"); !strings.Contains(out, "ConfigMap default/two pruned") || !strings.Contains(out, "ConfigMap default/one unchanged") {
		t.Error(out)
	}
	write(t, dir, "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: bad name\n")
	if out, err := c.Run("apply", "-f", dir, "--prune"); err == nil || !strings.Contains(out, "b.yaml:4: metadata.name: Invalid value") {
		t.Error(out, err)
	}
	if out, err := c.Run("apply", "-f", dir, "--prune", "--dry-run=server"); err == nil || !strings.Contains(out, "--dry-run does not go with") {
		t.Error(out, err)
	}
}
