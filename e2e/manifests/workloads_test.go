package manifests

import (
	"strings"
	"testing"
)

func deployment(t *testing.T, a applied) {
	a.K(t, "rollout", "status", "deployment/web", "--timeout=60s")
	a.K(t, "set", "env", "deployment/web", "GREETING=hello")
	a.K(t, "rollout", "status", "deployment/web", "--timeout=60s")
	if out := a.K(t, "get", "deployment", "web", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(out), " "), "web 3/3 3 3 ") {
		t.Errorf("got %s", out)
	}
	if out := a.K(t, "rollout", "history", "deployment/web"); !strings.Contains(out, "2 ") {
		t.Errorf("history: %s", out)
	}
	out := a.Must(t, "rollout", "diff", "deployment/web")
	for _, want := range []string{"--- revision 1\n+++ revision 2\n", "+    - name: GREETING\n+      value: hello\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the difference:\n%s", want, out)
		}
	}
	if out, err := a.Run("rollout", "diff", "deployment/web", "--to", "7"); err == nil || !strings.Contains(out, "no such revision: 7; there are [1 2]") {
		t.Errorf("%v: %s", err, out)
	}
}

func statefulSet(t *testing.T, a applied) {
	a.K(t, "rollout", "status", "statefulset/db", "--timeout=60s")
	for _, name := range []string{"db-0", "db-1"} {
		a.logs(t, name, "db", "I am "+name)
	}
}

func indexedJob(t *testing.T, a applied) {
	a.K(t, "wait", "--for=condition=complete", "job/pieces", "--timeout=60s")
	if got := a.Get(t, "job", "pieces", "{.status.completedIndexes} {.status.succeeded}"); got != "0-5 6" {
		t.Errorf("completed: %s", got)
	}
	out := a.K(t, "logs", "-l", "job-name=pieces", "--max-log-requests=6")
	for _, piece := range []string{"0", "1", "2", "3", "4", "5"} {
		if !strings.Contains(out, "piece "+piece+" is done") {
			t.Errorf("no piece %s in %s", piece, out)
		}
	}
	if out := a.K(t, "describe", "job", "pieces"); !strings.Contains(strings.Join(strings.Fields(out), " "), "Completed Indexes: 0-5 ") || !strings.Contains(out, "Job completed") {
		t.Errorf("described as %s", out)
	}
}

func pickyJob(t *testing.T, a applied) {
	a.K(t, "wait", "--for=condition=failed", "job/picky", "--timeout=60s")
	if got := a.Get(t, "job", "picky", "{.status.failed} {.status.conditions[?(@.type=='Failed')].reason}"); got != "1 PodFailurePolicy" {
		t.Errorf("ended with %s", got)
	}
}

func cronJob(t *testing.T, a applied) {
	a.K(t, "create", "job", "now", "--from=cronjob/report")
	a.K(t, "wait", "--for=condition=complete", "job/now", "--timeout=60s")
	if out := a.K(t, "logs", "job/now"); !strings.Contains(out, "reported at ") {
		t.Errorf("log: %s", out)
	}
	if out := a.K(t, "get", "cronjob", "report", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(out), " "), "report */5 * * * * Asia/Tokyo False ") {
		t.Errorf("got %s", out)
	}
}

func daemonSet(t *testing.T, a applied) {
	a.K(t, "rollout", "status", "daemonset/watcher", "--timeout=60s")
	node := a.K(t, "get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	if out := a.K(t, "logs", "daemonset/watcher"); !strings.Contains(out, "watching "+node) {
		t.Errorf("log: %s", out)
	}
	a.K(t, "set", "env", "daemonset/watcher", "ROUND=2")
	a.K(t, "rollout", "status", "daemonset/watcher", "--timeout=60s")
	a.K(t, "rollout", "undo", "daemonset/watcher")
	a.K(t, "rollout", "status", "daemonset/watcher", "--timeout=60s")
	if out := a.K(t, "rollout", "history", "daemonset/watcher"); !strings.Contains(out, "2 ") || !strings.Contains(out, "3 ") {
		t.Errorf("history: %s", out)
	}
	if out := a.K(t, "get", "daemonset", "watcher", "--no-headers"); !strings.HasPrefix(strings.Join(strings.Fields(out), " "), "watcher 1 1 1 1 1 <none> ") {
		t.Errorf("got %s", out)
	}
}

func disruptionBudget(t *testing.T, a applied) {
	a.K(t, "rollout", "status", "deployment/guarded", "--timeout=60s")
	a.K(t, "wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/guarded", "--timeout=30s")
	var refused int
	for _, name := range strings.Fields(a.K(t, "get", "pods", "-l", "app=guarded", "-o", "jsonpath={.items[*].metadata.name}")) {
		body := `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "default", "name": "` + name + `"}}`
		out, err := a.KubectlInput(body, "create", "--raw", "/api/v1/namespaces/default/pods/"+name+"/eviction", "-f", "-")
		if err != nil {
			refused++
			if !strings.Contains(out, "Cannot evict pod as it would violate the pod's disruption budget.") {
				t.Errorf("refused with %s", out)
			}
		}
	}
	if refused == 0 {
		t.Error("all three were evicted")
	}
	a.K(t, "wait", "--for=jsonpath={.status.currentHealthy}=3", "pdb/guarded", "--timeout=30s")
}
