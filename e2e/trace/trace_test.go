// Package trace checks what `carob trace` shows of pods, and what a collector
// gets of them.
package trace

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

const sleeper = `apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - {name: a, image: 'busybox:1.35', command: [sleep, '100000'], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: b, image: 'busybox:1.35', command: [sleep, '100000']}
`

// trace is the output of carob trace -o json, as far as it is looked at.
type trace struct {
	TraceID, UID string
	Spans        []span
	Others       []string
}

type span struct {
	SpanID, ParentID, Stage, Name, Error string
	Begin                                time.Time
	Took                                 time.Duration `json:"tookNanoseconds"`
	Open                                 bool
	Attributes                           map[string]string
}

func (s span) end() time.Time { return s.Begin.Add(s.Took) }

func read(t *testing.T, c *harness.Carob, args ...string) (tr trace) {
	t.Helper()
	out := c.Must(t, append([]string{"trace", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &tr); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return tr
}

// TestTrace: a pod's start, a restart and its end show, each span inside of
// the one around it, and a collector gets the same spans.
func TestTrace(t *testing.T) {
	c := harness.New(t)
	before := c.State(t)
	sink := startSink(t)
	c.Args = append(c.Args, "--tracing-endpoint", sink.endpoint)
	c.Up(t)
	c.Import(t)
	c.Apply(t, sleeper)
	c.WaitReady(t, "sleeper")

	started := read(t, c, "sleeper")
	if uid := c.Get(t, "pod", "sleeper", "{.metadata.uid}"); started.UID != uid || started.TraceID != strings.ReplaceAll(uid, "-", "") {
		t.Errorf("UID %s, trace %s of the pod %s", started.UID, started.TraceID, uid)
	}
	root := started.one(t, "pod start", "")
	for _, name := range []string{"API create", "schedule", "API bind", "watch", "create sandbox", "prepare volumes", "attach network"} {
		started.one(t, name, root.SpanID)
	}
	if !slices.ContainsFunc(started.named("volume"), func(s span) bool { return s.Attributes["volume"] == "v" }) {
		t.Errorf("no span of the volume v: %+v", started.named("volume"))
	}
	started.one(t, "namespaces", started.one(t, "create sandbox", "").SpanID)
	if s := started.one(t, "cni bridge", started.one(t, "attach network", "").SpanID); s.Attributes["command"] != "ADD" {
		t.Errorf("%+v", s)
	}
	for _, container := range []string{"a", "b"} {
		create := started.of(t, "create container", container)
		if create.ParentID != root.SpanID || create.Attributes["image"] != harness.Image || create.Attributes["attempt"] != "0" {
			t.Errorf("%+v", create)
		}
		for _, name := range []string{"resolve image", "spec", "container record", "snapshot", "task"} {
			started.one(t, name, create.SpanID)
		}
		started.one(t, "shim and runc create", started.one(t, "task", create.SpanID).SpanID)
		started.one(t, "runc start", started.of(t, "start container", container).SpanID)
	}
	started.nested(t)

	c.K(t, "delete", "pod", "sleeper")
	var all trace
	harness.Eventually(t, 20*time.Second, func() string {
		if all = read(t, c, "sleeper"); len(all.named("pod end")) == 0 {
			return "the pod has not ended"
		}
		return ""
	})
	end := all.one(t, "pod end", "")
	for _, name := range []string{"remove sandbox", "remove volumes", "detach network", "delete pod"} {
		all.one(t, name, end.SpanID)
	}
	for _, container := range []string{"a", "b"} {
		all.one(t, "stop and delete task", all.of(t, "remove container", container).SpanID)
	}
	all.nested(t)

	text := c.Must(t, "trace", "pod/sleeper")
	for _, want := range []string{"start, at ", "end, at ", "cni bridge", "█", "command=DEL"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\033") {
		t.Errorf("colours without a terminal:\n%q", text)
	}
	c.Stop(t)
	sink.same(t, all)
	if out, err := c.Run("reset", "--yes"); err != nil {
		t.Errorf("reset: %v\n%s", err, out)
	}
	c.SameState(t, before)
}

// TestTraceOfTrouble: what failed, what is under way and what came later shows,
// and a question that has no answer gets a clear one.
func TestTraceOfTrouble(t *testing.T) {
	c := harness.Started(t)
	for args, want := range map[string]string{
		"nothing":                  `no trace of pod "nothing" in namespace "default"`,
		"nothing -n kube-system":   `no trace of pod "nothing" in namespace "kube-system"`,
		"nothing -o yaml":          "--output",
		"nothing --stage middle":   "--stage",
		"nothing --uid " + "1-2-3": `with the UID "1-2-3"`,
	} {
		if out, err := c.Run(append([]string{"trace"}, strings.Fields(args)...)...); err == nil || !strings.Contains(out, want) {
			t.Errorf("trace %s: %v, want %q in\n%s", args, err, want, out)
		}
	}

	c.Apply(t, strings.NewReplacer("sleeper", "stuck", harness.Image, "127.0.0.1:1/nothing:1").Replace(sleeper))
	harness.Eventually(t, 20*time.Second, func() string {
		if pulls := read(t, c, "stuck").named("pull image"); len(pulls) == 0 || pulls[0].Error == "" {
			return "no pull has failed"
		}
		return ""
	})
	if tr := read(t, c, "stuck"); len(tr.named("pod start")) != 0 {
		t.Errorf("it has started: %+v", tr)
	}
	if out := c.Must(t, "trace", "stuck", "--stage", "start"); !strings.Contains(out, "! failed to pull") || !strings.Contains(out, "pod start") {
		t.Errorf("the failure does not show:\n%s", out)
	}
	c.K(t, "delete", "pod", "stuck")
	harness.Eventually(t, 20*time.Second, func() string {
		if len(read(t, c, "stuck").named("pod end")) == 0 {
			return "the pod has not ended"
		}
		return ""
	})
	if s := read(t, c, "stuck").one(t, "pod start", ""); s.Error == "" {
		t.Errorf("a start that never was: %+v", s)
	}

	// Its container ends once, and is started again after the pod has started.
	again := "[sh, -c, 'if [ -e /v/x ]; then exec sleep 100000; fi; sleep 1; touch /v/x; exit 3']"
	c.Apply(t, strings.Replace(sleeper, "[sleep, '100000'], volumeMounts", again+", volumeMounts", 1))
	harness.Eventually(t, 60*time.Second, func() string {
		for _, s := range read(t, c, "sleeper").named("start container") {
			if s.Attributes["attempt"] == "1" && s.Stage == "later" && !s.Open && s.ParentID == "" {
				return ""
			}
		}
		return "no restart shows"
	})
	if out := c.Must(t, "trace", "sleeper", "--stage", "later"); !strings.Contains(out, "attempt=1") || !strings.Contains(out, "after the start began") || strings.Contains(out, "cni bridge") {
		t.Errorf("the restart:\n%s", out)
	}

	// Another pod of the name is another trace; the first one can be asked for.
	first := c.Get(t, "pod", "sleeper", "{.metadata.uid}")
	c.K(t, "delete", "pod", "sleeper")
	c.Apply(t, sleeper)
	c.WaitReady(t, "sleeper")
	if tr := read(t, c, "sleeper"); tr.UID == first || len(tr.Others) != 1 || tr.Others[0] != first {
		t.Errorf("the newest: %s, others %v; the first was %s", tr.UID, tr.Others, first)
	}
	if tr := read(t, c, "sleeper", "--uid", first); tr.UID != first {
		t.Errorf("asked for %s, got %s", first, tr.UID)
	}
	// A restart of carob forgets, and nothing of its pods begins anew.
	c.Stop(t)
	c.Up(t)
	c.WaitReady(t, "sleeper")
	if out, err := c.Run("trace", "sleeper"); err == nil && strings.Contains(out, "pod start") {
		t.Errorf("a pod that ran before has a start:\n%s", out)
	}
	c.K(t, "delete", "pod", "sleeper")
	if out := c.Must(t, "trace", "sleeper", "--stage", "end"); !strings.Contains(out, "API delete") {
		t.Errorf("its end does not show:\n%s", out)
	}
}
