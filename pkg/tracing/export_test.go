package tracing

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/types"
)

// sink is a collector that speaks OTLP over gRPC.
type sink struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans map[string]string // name and trace
	from  []string
}

func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			s.from = append(s.from, a.Key+"="+a.Value.GetStringValue())
		}
		for _, ss := range rs.ScopeSpans {
			for _, sp := range ss.Spans {
				s.spans[sp.Name] = hex.EncodeToString(sp.TraceId)
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func startSink(t *testing.T) (*sink, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, server := &sink{spans: map[string]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, "http://" + l.Addr().String()
}

func TestExport(t *testing.T) {
	s, endpoint := startSink(t)
	// Of these two the ratio takes the first.
	in, out := types.UID("11111111-1111-4111-8000-000000000000"), types.UID("11111111-1111-4111-80ff-ffffffffffff")
	tr := newTracer(t, Options{Endpoint: endpoint, Ratio: 0.5, Node: "n1", Instance: "i1", Version: "v1"})
	for id, name := range map[types.UID]string{in: "in", out: "out"} {
		ctx, done := tr.Span(t.Context(), Pod{UID: id, Namespace: "default", Name: name}, Start, name)
		_, minor := Begin(ctx, "trifle", Minor())
		minor(nil)
		done(nil)
	}
	if err := tr.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.spans) != 1 || s.spans["in"] != TraceID(in).String() {
		t.Errorf("exported %v", s.spans)
	}
	for _, want := range []string{"service.name=carob", "service.version=v1", "service.instance.id=i1", "k8s.node.name=n1"} {
		if !slices.Contains(s.from, want) {
			t.Errorf("%s is missing of %v", want, s.from)
		}
	}
	for _, name := range []string{"in", "out"} {
		if _, ok := tr.Find("default", name, ""); !ok {
			t.Errorf("the pod %s is not kept: the ratio is for the collector alone", name)
		}
	}
}

// A collector that is away neither holds anybody up nor keeps carob from
// ending.
func TestCollectorAway(t *testing.T) {
	tr := newTracer(t, Options{Endpoint: "http://127.0.0.1:1", Ratio: 1})
	began := time.Now()
	for range 3 * maxQueue {
		_, done := tr.Span(t.Context(), web, Start, "x")
		done(nil)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the spans took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := tr.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); running() != ""; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still running:\n%s", running())
		}
	}
}

func TestNothingRunsWithoutEndpoint(t *testing.T) {
	tr := newTracer(t, Options{})
	_, done := tr.Span(t.Context(), web, Start, "x")
	done(nil)
	if s := running(); s != "" {
		t.Errorf("something runs:\n%s", s)
	}
}

// running returns the goroutines of exports.
func running() string {
	b := make([]byte, 1<<20)
	var mine []string
	for _, g := range strings.Split(string(b[:runtime.Stack(b, true)]), "\n\n") {
		if strings.Contains(g, "go.opentelemetry.io/") || strings.Contains(g, "grpc.(*addrConn)") {
			mine = append(mine, g)
		}
	}
	return strings.Join(mine, "\n\n")
}

func TestCheckEndpoint(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:4317", "https://collector.example:4317", "http://[::1]:4317"} {
		if err := CheckEndpoint(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"127.0.0.1:4317", "http://host", "ftp://host:1", "http://host:1/v1/traces", "http://u:p@host:1", "http://:4317", "%"} {
		if err := CheckEndpoint(bad); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := New(t.Context(), Options{Endpoint: bad}); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%s: New: %v", bad, err)
		}
	}
}
