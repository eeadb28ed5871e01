package tracing

import (
	"cmp"
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// Limits bound what is kept in memory.
type Limits struct {
	// Pods and Bytes bound all traces together; the one that nothing was added
	// to for the longest time goes first.
	Pods, Bytes int
	// Spans bounds one trace. Its first three quarters stay, the rest are the
	// newest.
	Spans int
}

func defaultLimits() Limits { return Limits{Pods: 256, Bytes: 2 << 20, Spans: 256} }

const (
	// recordBytes is about what a record takes beside its texts.
	recordBytes = 176
	maxError    = 512
)

// ring keeps the spans of the last pods, those under way included.
type ring struct {
	limits Limits

	mu    sync.Mutex
	pods  map[trace.TraceID]*list.Element // of *podTrace
	order *list.List                      // the longest untouched first
	bytes int
	count uint64
}

// podTrace is what is kept of one pod.
type podTrace struct {
	id      trace.TraceID
	pod     Pod
	number  uint64 // in the order of their first spans
	records []record
	dropped int
}

// record is a span.
type record struct {
	id, parent trace.SpanID
	stage      Stage // of an outermost one
	name       string
	begin      time.Time
	took       time.Duration
	open       bool
	minor      bool
	attrs      []pair
	err        string
}

type pair struct{ key, value string }

func newRing(l Limits) *ring {
	return &ring{limits: l, pods: map[trace.TraceID]*list.Element{}, order: list.New()}
}

func (r record) size() int {
	n := recordBytes + len(r.err)
	for _, a := range r.attrs {
		n += 32 + len(a.value)
	}
	return n
}

// OnStart implements sdktrace.SpanProcessor.
func (r *ring) OnStart(_ context.Context, s sdktrace.ReadWriteSpan) {
	sc := s.SpanContext()
	rec := record{id: sc.SpanID(), parent: s.Parent().SpanID(), name: s.Name(), begin: s.StartTime(), open: true}
	pod := fill(&rec, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.pods[sc.TraceID()]
	if e == nil {
		if pod.UID == "" {
			return // of a pod that has been dropped meanwhile
		}
		r.count++
		e = r.order.PushBack(&podTrace{id: sc.TraceID(), pod: pod, number: r.count})
		r.pods[sc.TraceID()] = e
	}
	r.order.MoveToBack(e)
	r.bytes += e.Value.(*podTrace).add(rec, r.limits.Spans)
	r.shrink()
}

// OnEnd implements sdktrace.SpanProcessor.
func (r *ring) OnEnd(s sdktrace.ReadOnlySpan) {
	sc := s.SpanContext()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.pods[sc.TraceID()]
	if e == nil {
		return
	}
	t := e.Value.(*podTrace)
	for i := len(t.records) - 1; i >= 0; i-- {
		rec := &t.records[i]
		if rec.id != sc.SpanID() {
			continue
		}
		before := rec.size()
		rec.open, rec.took = false, s.EndTime().Sub(rec.begin)
		fill(rec, s)
		if st := s.Status(); st.Code == codes.Error {
			rec.err = cut(cmp.Or(st.Description, "failed"), maxError)
		}
		r.bytes += rec.size() - before
		if trifle(s, rec.minor) {
			r.bytes -= rec.size()
			t.records = slices.Delete(t.records, i, i+1)
		}
		break
	}
	r.shrink()
}

// trifle says whether a span that has ended is not worth keeping.
func trifle(s sdktrace.ReadOnlySpan, minor bool) bool {
	return minor && s.EndTime().Sub(s.StartTime()) < minorTime && s.Status().Code != codes.Error
}

// fill takes over the attributes, and returns the pod that they name.
func fill(rec *record, s sdktrace.ReadOnlySpan) (p Pod) {
	rec.attrs, rec.minor = rec.attrs[:0], false
	for _, a := range s.Attributes() {
		switch value := a.Value.String(); a.Key {
		case keyUID:
			p.UID = types.UID(value)
		case keyNamespace:
			p.Namespace = value
		case keyName:
			p.Name = value
		case keyStage:
			rec.stage = Stage(value)
		case keyMinor:
			rec.minor = true
		default:
			rec.attrs = append(rec.attrs, pair{string(a.Key), value})
		}
	}
	return p
}

// add returns how many bytes more there are.
func (t *podTrace) add(rec record, most int) (bytes int) {
	if len(t.records) >= most {
		i := most * 3 / 4
		bytes -= t.records[i].size()
		t.records = slices.Delete(t.records, i, i+1)
		t.dropped++
	}
	t.records = append(t.records, rec)
	return bytes + rec.size()
}

func (r *ring) shrink() {
	for r.order.Len() > 1 && (r.order.Len() > r.limits.Pods || r.bytes > r.limits.Bytes) {
		e := r.order.Front()
		t := e.Value.(*podTrace)
		for _, rec := range t.records {
			r.bytes -= rec.size()
		}
		delete(r.pods, t.id)
		r.order.Remove(e)
	}
}

// Shutdown implements sdktrace.SpanProcessor.
func (*ring) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (*ring) ForceFlush(context.Context) error { return nil }

// look calls f with what is kept of a pod, nil where nothing is.
func (r *ring) look(uid types.UID, f func(*podTrace)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.pods[TraceID(uid)]; e != nil {
		f(e.Value.(*podTrace))
	}
}

func (r *ring) first(uid types.UID, s Stage) (at time.Time) {
	root := RootID(uid, s)
	r.look(uid, func(t *podTrace) {
		for _, rec := range t.records {
			if rec.parent == root && (at.IsZero() || rec.begin.Before(at)) {
				at = rec.begin
			}
		}
	})
	return at
}

func (r *ring) lastEnd(uid types.UID, name string) (at time.Time) {
	r.look(uid, func(t *podTrace) {
		for _, rec := range t.records {
			if end := rec.begin.Add(rec.took); rec.name == name && !rec.open && end.After(at) {
				at = end
			}
		}
	})
	return at
}

// cut shortens a text, without breaking a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
