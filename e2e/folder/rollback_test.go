package folder

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// example copies manifests/folder, and returns what its files say.
func example(t *testing.T, c *harness.Carob, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(harness.Root(t), "manifests", "folder", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no example: %v", err)
	}
	out := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), "# ") {
			t.Errorf("%s has no header comment", f)
		}
		out[filepath.Base(f)] = string(data)
		write(t, dir, filepath.Base(f), string(data))
	}
	return out
}

// all waits until every object of the example is in the state that its name is
// given.
func all(t *testing.T, c *harness.Carob, want map[string]string) {
	t.Helper()
	harness.Eventually(t, 120*time.Second, func() string {
		rows, err := report(c)
		if err != nil {
			return err.Error()
		}
		for name, state := range want {
			if !strings.HasPrefix(rows[name], state) {
				return fmt.Sprint(rows)
			}
		}
		return ""
	})
}

const (
	deployment = "Deployment/web"
	stateful   = "StatefulSet/db"
	daemons    = "DaemonSet/agent"
)

// settled waits until all pods of the example run what the files said first.
func settled(t *testing.T, c *harness.Carob) {
	t.Helper()
	for _, name := range []string{"deployment/web", "statefulset/db", "daemonset/agent"} {
		if out, err := c.Kubectl("rollout", "status", "--timeout=90s", name); err != nil {
			t.Fatalf("%s: %v\n%s\n%s\n%s", name, err, out, c.K(t, "get", name, "-o", "yaml"), c.K(t, "get", "pods", "-o", "yaml"))
		}
	}
}

func TestRollback(t *testing.T) {
	c := harness.New(t)
	dir := filepath.Join(c.Dir, "manifests")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	files := example(t, c, dir)
	c.Args = append(c.Args, "--manifests", dir)
	c.Up(t)
	c.Import(t)
	all(t, c, map[string]string{deployment: "Applied", stateful: "Applied", daemons: "Applied"})
	settled(t, c)

	for _, name := range []string{"web.yaml", "db.yaml"} {
		write(t, dir, name, strings.ReplaceAll(files[name], "sleep 10000", "exit 3"))
	}
	write(t, dir, "agent.yaml", strings.ReplaceAll(files["agent.yaml"], "busybox:1.35", "busybox:none"))
	all(t, c, map[string]string{deployment: "RolledBack", stateful: "RolledBack", daemons: "RolledBack"})
	settled(t, c)
	reasons := map[string]string{}
	for object, want := range map[string][2]string{
		deployment: {"CrashLoopBackOff", "returned from revision 2 to revision 1: container web of pod web-"},
		stateful:   {"CrashLoopBackOff", "returned from revision 2 to revision 1: container db of pod db-1 has ended 3 times, last with exit code 3 (Error)"},
		daemons:    {"ProgressDeadlineExceeded", "returned from revision 2 to revision 1: it made no progress in time"},
	} {
		got := c.K(t, "get", object, "-o", `jsonpath={range .status.conditions[?(@.type=="RolledBack")]}{.status} {.reason} {.message}{end}`)
		if !strings.HasPrefix(got, "True "+want[0]) || !strings.Contains(got, want[1]) {
			t.Errorf("%s: condition %q", object, got)
		}
		kind, name, _ := strings.Cut(object, "/")
		if events := c.K(t, "get", "events", "--field-selector", "involvedObject.kind="+kind+",reason="+kind+"Rollback", "-o", "wide"); strings.Count(events, want[1]) != 1 {
			t.Errorf("%s: events\n%s", object, events)
		}
		diff := c.Must(t, "rollout", "diff", strings.ToLower(kind)+"/"+name)
		if !strings.Contains(diff, "--- revision 2") || !strings.Contains(diff, "+++ revision 3") || !strings.Contains(diff, "\n+ ") || !strings.Contains(diff, "\n- ") {
			t.Errorf("%s: diff\n%s", object, diff)
		}
		reasons[object] = c.Get(t, kind, name, "{.metadata.generation}")
	}

	// The folder respects it, also after a restart and when it looks again.
	c.Kill(t)
	c.Up(t)
	write(t, dir, "more.yaml", settings("default", "more", "1"))
	all(t, c, map[string]string{deployment: "RolledBack", stateful: "RolledBack", daemons: "RolledBack", "ConfigMap/more": "Applied"})
	now := map[string]string{}
	for object := range reasons {
		kind, name, _ := strings.Cut(object, "/")
		now[object] = c.Get(t, kind, name, "{.metadata.generation}")
	}
	if !maps.Equal(now, reasons) {
		t.Errorf("generations %v, before %v", now, reasons)
	}
	if out, err := c.Run("manifests"); err == nil || !strings.Contains(out, "its rollout failed and was taken back") {
		t.Errorf("%v\n%s", err, out)
	}

	// What the files say later counts.
	for name, text := range files {
		write(t, dir, name, strings.ReplaceAll(text, "sleep 10000", "sleep 20000"))
	}
	all(t, c, map[string]string{deployment: "Applied", stateful: "Applied", daemons: "Applied"})
	settled(t, c)
	for object := range reasons {
		kind, name, _ := strings.Cut(object, "/")
		if got := c.Get(t, kind, name, "{.spec.template.spec.containers[0].command[2]} {.status.conditions[?(@.type==\"RolledBack\")].status}"); got != "sleep 20000 " {
			t.Errorf("%s: %q", object, got)
		}
	}
}
