package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// Options say what is kept and where spans go.
type Options struct {
	// Limits default to 256 pods, 2 MiB and 256 spans a pod.
	Limits Limits
	// Endpoint is a collector that takes OTLP over gRPC, such as
	// http://127.0.0.1:4317; empty: nothing is exported and nothing runs.
	Endpoint string
	// Ratio is the part of the pods whose traces are exported.
	Ratio float64
	// Node, Instance and Version describe this carob to the collector.
	Node, Instance, Version string
	// Log may be nil.
	Log *zap.Logger
}

// Bounds of what is exported.
const (
	maxQueue    = 2048
	maxValue    = 256
	maxAttrs    = 32
	exportEvery = time.Second
)

// ErrEndpoint: the collector's address cannot be used.
var ErrEndpoint = errors.New("must be http://HOST:PORT, or https://HOST:PORT for TLS, of a collector that takes OTLP over gRPC")

// CheckEndpoint says whether an address can be that of a collector.
func CheckEndpoint(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return ErrEndpoint
	}
	return nil
}

// New returns a Tracer. Shut it down where there is an Endpoint.
func New(ctx context.Context, o Options) (*Tracer, error) {
	if o.Limits == (Limits{}) {
		o.Limits = defaultLimits()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	t := &Tracer{ring: newRing(o.Limits)}
	opts := []sdktrace.TracerProviderOption{
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithSampler(sampler{ratio: o.Ratio, exports: o.Endpoint != ""}),
		sdktrace.WithSpanProcessor(t.ring),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxValue, AttributeCountLimit: maxAttrs,
			AttributePerEventCountLimit: maxAttrs, AttributePerLinkCountLimit: maxAttrs,
		}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "carob"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", o.Instance), attribute.String("k8s.node.name", o.Node))),
	}
	if o.Endpoint != "" {
		if err := CheckEndpoint(o.Endpoint); err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", o.Endpoint, err)
		}
		e, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.Endpoint))
		if err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", o.Endpoint, err)
		}
		t.exporter = e
		opts = append(opts, sdktrace.WithBatcher(&telling{SpanExporter: e, log: o.Log},
			sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithBatchTimeout(exportEvery)))
	}
	t.provider = sdktrace.NewTracerProvider(opts...)
	t.tracer = t.provider.Tracer(scope)
	return t, nil
}

// Shutdown exports what is left and ends what runs. Nothing more is exported
// afterwards.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	err := t.provider.Shutdown(ctx)
	if err != nil && t.exporter != nil {
		// It is still trying; this breaks it off.
		over, cancel := context.WithCancel(ctx)
		cancel()
		_ = t.exporter.Shutdown(over)
	}
	return err
}

// sampler has every span recorded, for the ring, and those of some traces
// exported.
type sampler struct {
	ratio   float64
	exports bool
}

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if s.exports && sampled(p.TraceID, s.ratio) {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return sdktrace.SamplingResult{Decision: sdktrace.RecordOnly}
}

// Description implements sdktrace.Sampler.
func (s sampler) Description() string { return fmt.Sprintf("trace ID, %g", s.ratio) }

// telling is an exporter whose failures are told in carob's log, the first of a
// row; the library would print each.
type telling struct {
	sdktrace.SpanExporter
	log    *zap.Logger
	failed bool // batches come one after the other
}

// ExportSpans implements sdktrace.SpanExporter.
func (e *telling) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	spans = slices.DeleteFunc(slices.Clone(spans), func(s sdktrace.ReadOnlySpan) bool {
		return trifle(s, slices.Contains(s.Attributes(), Minor()))
	})
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err == nil && e.failed:
		e.log.Info("traces are exported again")
	case err != nil && !e.failed:
		e.log.Warn("traces are not exported; those of this time are lost", zap.Error(err))
	}
	e.failed = err != nil
	return nil
}
