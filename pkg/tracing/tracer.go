package tracing

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// scope names the instrumentation in every span.
const scope = "github.com/carob-project/carob"

// Pod names a pod.
type Pod struct {
	UID             types.UID
	Namespace, Name string
}

// NameBind is the span of the request that gives a pod to its node; the way to
// the node begins where it ends.
const NameBind = "API bind"

// Attributes of the outermost spans, as OpenTelemetry's conventions name them.
const (
	keyUID       = attribute.Key("k8s.pod.uid")
	keyNamespace = attribute.Key("k8s.namespace.name")
	keyName      = attribute.Key("k8s.pod.name")
	keyStage     = attribute.Key("carob.stage")
)

// Minor marks a span that is not worth keeping when it took less than
// minorTime and did not fail: a wait that was none. What is inside of it has to
// be minor too.
func Minor() attribute.KeyValue { return keyMinor.Bool(true) }

const (
	keyMinor  = attribute.Key("carob.minor")
	minorTime = time.Millisecond
)

// Done ends a span. An error makes it a failed one; that somebody gave up on
// purpose is no failure.
type Done func(err error)

// Tracer makes the spans of pods. A nil one makes none.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	ring     *ring
	exporter sdktrace.SpanExporter // nil: nothing is exported
}

// Span begins a span of a pod's stage. Spans that are begun from the context
// it returns, see Begin, are inside of it.
func (t *Tracer) Span(ctx context.Context, p Pod, s Stage, name string, attrs ...attribute.KeyValue) (context.Context, Done) {
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(t.under(ctx, p, s), name, trace.WithAttributes(p.attributes(s)...), trace.WithAttributes(attrs...))
	return ctx, func(err error) { end(span, err, time.Time{}) }
}

// Over is a span that has ended already.
type Over struct {
	Name       string
	Begin, End time.Time
	Err        error
	Attributes []attribute.KeyValue
	Inside     []Over
}

// Record records a span that has ended, with those inside of it.
func (t *Tracer) Record(p Pod, s Stage, o Over) {
	if t == nil {
		return
	}
	t.record(t.under(context.Background(), p, s), o, p.attributes(s))
}

// Root records the root span of a stage, which has ended now. It begins where
// the first span that is known of the stage does, and not after begin.
func (t *Tracer) Root(p Pod, s Stage, begin time.Time, err error) {
	if t == nil {
		return
	}
	if first := t.ring.first(p.UID, s); !first.IsZero() && first.Before(begin) {
		begin = first
	}
	ctx := context.WithValue(context.Background(), wantedKey{}, wanted{TraceID(p.UID), RootID(p.UID, s)})
	t.record(ctx, Over{Name: "pod " + string(s), Begin: begin, End: time.Now(), Err: err}, p.attributes(s))
}

// LastEnd returns when the last span of that name ended that is known of the
// pod; the zero time where there is none.
func (t *Tracer) LastEnd(uid types.UID, name string) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.ring.lastEnd(uid, name)
}

func (t *Tracer) record(ctx context.Context, o Over, more []attribute.KeyValue) {
	ctx, span := t.tracer.Start(ctx, o.Name, trace.WithTimestamp(o.Begin), trace.WithAttributes(more...), trace.WithAttributes(o.Attributes...))
	for _, in := range o.Inside {
		t.record(ctx, in, nil)
	}
	end(span, o.Err, o.End)
}

// under is a context in which a span of the stage begins.
func (t *Tracer) under(ctx context.Context, p Pod, s Stage) context.Context {
	id := TraceID(p.UID)
	if s == Later {
		ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
		return context.WithValue(ctx, wantedKey{}, wanted{trace: id})
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: RootID(p.UID, s)}))
}

func (p Pod) attributes(s Stage) []attribute.KeyValue {
	return []attribute.KeyValue{
		keyUID.String(string(p.UID)), keyNamespace.String(p.Namespace), keyName.String(p.Name), keyStage.String(string(s)),
	}
}

// Begin begins a span inside of the one that ctx carries. Where it carries
// none, nothing happens.
func Begin(ctx context.Context, name string, attrs ...attribute.KeyValue) (context.Context, Done) {
	outer := trace.SpanFromContext(ctx)
	if !outer.IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := outer.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithAttributes(attrs...))
	return ctx, func(err error) { end(span, err, time.Time{}) }
}

// Note adds to the span that ctx carries.
func Note(ctx context.Context, attrs ...attribute.KeyValue) {
	trace.SpanFromContext(ctx).SetAttributes(attrs...)
}

func end(span trace.Span, err error, at time.Time) {
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		span.SetAttributes(attribute.Bool("canceled", true))
	default:
		span.SetStatus(codes.Error, err.Error())
	}
	if at.IsZero() {
		span.End()
		return
	}
	span.End(trace.WithTimestamp(at))
}
