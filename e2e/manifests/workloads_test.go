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
}

func statefulSet(t *testing.T, a applied) {
	a.K(t, "rollout", "status", "statefulset/db", "--timeout=60s")
	for _, name := range []string{"db-0", "db-1"} {
		a.logs(t, name, "db", "I am "+name)
	}
}
