package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

const uid = types.UID("3ea2208d-ebef-413a-9a3f-425eb8b9da34")

var web = Pod{UID: uid, Namespace: "default", Name: "web"}

func newTracer(t *testing.T, o Options) *Tracer {
	t.Helper()
	tr, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// The IDs are part of the contract with collectors and with other processes:
// they must not change.
func TestIDs(t *testing.T) {
	for _, tt := range []struct {
		uid                types.UID
		trace, start, endS string
	}{
		{uid, "3ea2208debef413a9a3f425eb8b9da34", "", ""},
		{"static-1", "", "", ""},
	} {
		id := TraceID(tt.uid)
		if !id.IsValid() || tt.trace != "" && id.String() != tt.trace {
			t.Errorf("%s: trace %s", tt.uid, id)
		}
		start, end := RootID(tt.uid, Start), RootID(tt.uid, End)
		if !start.IsValid() || !end.IsValid() || start == end {
			t.Errorf("%s: roots %s, %s", tt.uid, start, end)
		}
	}
	if got := RootID(uid, Start).String(); got != "18d449f233472dcc" {
		t.Errorf("root %s", got)
	}
}

// A ratio picks about as many, always the same ones, and more of them the
// higher it is.
func TestSampled(t *testing.T) {
	n := 0
	for range 4000 {
		id := TraceID(types.UID(uuid.NewString()))
		low, high := sampled(id, 0.25), sampled(id, 0.5)
		if low && !high || sampled(id, 0) || !sampled(id, 1) {
			t.Fatalf("%s: %v at 0.25, %v at 0.5", id, low, high)
		}
		if low {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 4000 at 0.25", n)
	}
}

func TestSpansOfOnePod(t *testing.T) {
	tr := newTracer(t, Options{})
	began := time.Now()
	tr.Record(web, Start, Over{Name: "API create", Begin: began.Add(-time.Second), End: began, Inside: []Over{
		{Name: "store", Begin: began.Add(-time.Millisecond), End: began},
	}})
	ctx, done := tr.Span(t.Context(), web, Start, "create container", attribute.String("container", "a"))
	inner, snapshot := Begin(ctx, "snapshot")
	_, none := Begin(inner, "wait", Minor())
	none(nil)
	snapshot(errors.New("no space"))
	ctx, open := Begin(ctx, "task")
	Note(ctx, attribute.Int("pid", 7))
	found, ok := tr.Find("default", "web", "")
	if !ok || !found.Spans[len(found.Spans)-1].Open {
		t.Fatalf("what is under way does not show: %+v", found)
	}
	open(fmt.Errorf("x: %w", context.Canceled))
	done(nil)
	tr.Root(web, Start, time.Now(), nil)
	_, restart := tr.Span(ctx, web, Later, "start container")
	restart(nil)

	found, _ = tr.Find("default", "web", "")
	if found.TraceID != TraceID(uid).String() || found.UID != uid || len(found.Spans) != 7 {
		t.Fatalf("%+v", found)
	}
	spans := map[string]Span{}
	for _, s := range found.Spans {
		spans[s.Name] = s
	}
	root := RootID(uid, Start).String()
	if s := spans["pod start"]; s.ID != root || s.Parent != "" || !s.Begin.Equal(began.Add(-time.Second)) {
		t.Errorf("root %+v: it must begin where its first span does", s)
	}
	for name, parent := range map[string]string{
		"API create": root, "store": spans["API create"].ID, "create container": root,
		"snapshot": spans["create container"].ID, "task": spans["create container"].ID, "start container": "",
	} {
		if s := spans[name]; s.Parent != parent || s.Open {
			t.Errorf("%s: %+v, want the parent %q", name, s, parent)
		}
	}
	if spans["snapshot"].Error != "no space" || spans["create container"].Error != "" {
		t.Errorf("failures: %+v", spans)
	}
	if s := spans["task"]; s.Error != "" || s.Attributes["canceled"] != "true" || s.Attributes["pid"] != "7" {
		t.Errorf("given up on purpose: %+v", s)
	}
	if s := spans["create container"]; s.Attributes["container"] != "a" || len(s.Attributes) != 1 {
		t.Errorf("attributes %v: those of the pod are told once", s.Attributes)
	}
}

// Whoever has no tracer makes no spans, and the parts inside neither, without
// taking memory for it.
func TestNothingWithoutTracer(t *testing.T) {
	var none *Tracer
	ctx, done := none.Span(t.Context(), web, Start, "x")
	done(errors.New("x"))
	none.Record(web, Start, Over{Name: "x"})
	none.Root(web, Start, time.Now(), nil)
	if _, ok := none.Find("default", "web", ""); ok || !none.LastEnd(uid, "x").IsZero() {
		t.Error("something was kept")
	}
	if err := none.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		_, done := Begin(ctx, "y")
		done(nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever comes, what is kept stays within its bounds, and is counted right.
func TestRingBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := Limits{Pods: rapid.IntRange(1, 4).Draw(rt, "pods"), Bytes: rapid.IntRange(2000, 9000).Draw(rt, "bytes"), Spans: rapid.IntRange(1, 12).Draw(rt, "spans")}
		tr := newTracer(t, Options{Limits: l})
		open := map[string]Done{}
		for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			p := Pod{UID: types.UID(fmt.Sprint("u", rapid.IntRange(0, 5).Draw(rt, "pod"))), Namespace: "n", Name: "x"}
			text := strings.Repeat("x", rapid.IntRange(0, 600).Draw(rt, "text"))
			ctx, done := tr.Span(t.Context(), p, Start, "s", attribute.String("k", text))
			_, inner := Begin(ctx, "in", Minor())
			inner(nil)
			if rapid.Bool().Draw(rt, "stays open") {
				open[fmt.Sprint(i)] = done
			} else {
				done(errors.New(text))
			}
			check(rt, tr.ring)
		}
		for _, done := range open {
			done(nil)
		}
		check(rt, tr.ring)
	})
}

func check(t *rapid.T, r *ring) {
	n := 0
	for e := r.order.Front(); e != nil; e = e.Next() {
		p := e.Value.(*podTrace)
		if len(p.records) > r.limits.Spans || r.pods[p.id] != e {
			t.Fatalf("%d spans of %s", len(p.records), p.pod.UID)
		}
		for _, rec := range p.records {
			n += rec.size()
		}
	}
	if n != r.bytes || len(r.pods) != r.order.Len() || r.order.Len() > r.limits.Pods || r.order.Len() > 1 && n > r.limits.Bytes {
		t.Fatalf("%d bytes, counted %d; %d pods; limits %+v", n, r.bytes, r.order.Len(), r.limits)
	}
}

// BenchmarkSpan is what a span costs where nobody but the ring takes it.
func BenchmarkSpan(b *testing.B) {
	tr, err := New(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, done := tr.Span(b.Context(), web, Start, "create container", attribute.String("container", "a"))
	b.ReportAllocs()
	for b.Loop() {
		_, d := Begin(ctx, "snapshot")
		d(nil)
	}
	done(nil)
}

// The first spans of a pod stay: they are those of its start.
func TestStartStays(t *testing.T) {
	tr := newTracer(t, Options{Limits: Limits{Pods: 2, Bytes: 1 << 20, Spans: 8}})
	for i := range 20 {
		_, done := tr.Span(t.Context(), web, Start, fmt.Sprint(i))
		done(nil)
	}
	found, _ := tr.Find("default", "web", "")
	var names []string
	for _, s := range found.Spans {
		names = append(names, s.Name)
	}
	if got := strings.Join(names, " "); got != "0 1 2 3 4 5 18 19" || found.Dropped != 12 {
		t.Errorf("%s, %d dropped", got, found.Dropped)
	}
}

func TestServe(t *testing.T) {
	tr := newTracer(t, Options{})
	for _, id := range []types.UID{"old", "new"} {
		tr.Record(Pod{UID: id, Namespace: "default", Name: "db-0"}, Start, Over{Name: "API create", Begin: time.Now(), End: time.Now()})
	}
	get := func(method, path string) (int, string) {
		rec := httptest.NewRecorder()
		tr.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		return rec.Code, rec.Body.String()
	}
	for query, want := range map[string]types.UID{"": "new", "?uid=old": "old"} {
		code, body := get(http.MethodGet, Path+"default/db-0"+query)
		var got Trace
		if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK || got.UID != want || len(got.Others) != 1 || got.Others[0] == want {
			t.Errorf("%s: %d %s", query, code, body)
		}
	}
	for path, want := range map[string]string{
		"default/none":         `no trace of pod "none" in namespace "default"`,
		"default/db-0?uid=out": `with the UID "out"`,
	} {
		if code, body := get(http.MethodGet, Path+path); code != http.StatusNotFound || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(http.MethodPost, Path+"default/db-0"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}
