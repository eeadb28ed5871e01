package trace

import (
	"context"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// named returns the spans of that name.
func (tr trace) named(name string) (all []span) {
	for _, s := range tr.Spans {
		if s.Name == name {
			all = append(all, s)
		}
	}
	return all
}

// one returns the only span of that name inside of another one, or of that
// name alone where parent is empty.
func (tr trace) one(t *testing.T, name, parent string) (found span) {
	t.Helper()
	n := 0
	for _, s := range tr.named(name) {
		if parent == "" || s.ParentID == parent {
			found = s
			n++
		}
	}
	if n != 1 || found.Open {
		t.Errorf("%d spans %q in %q: %+v", n, name, parent, tr.named(name))
	}
	return found
}

// of returns the only span of that name about a container.
func (tr trace) of(t *testing.T, name, container string) (found span) {
	t.Helper()
	n := 0
	for _, s := range tr.named(name) {
		if s.Attributes["container"] == container {
			found = s
			n++
		}
	}
	if n != 1 || found.Open {
		t.Errorf("%d spans %q of the container %q: %+v", n, name, container, tr.named(name))
	}
	return found
}

// slew is by how much the clock may be corrected during a span.
const slew = time.Millisecond

// nested checks that every span lies inside of the one around it.
func (tr trace) nested(t *testing.T) {
	t.Helper()
	byID := map[string]span{}
	for _, s := range tr.Spans {
		byID[s.SpanID] = s
	}
	for _, s := range tr.Spans {
		outer, ok := byID[s.ParentID]
		switch {
		case s.ParentID == "":
		case !ok:
			t.Errorf("%s has no parent %s", s.Name, s.ParentID)
		case s.Begin.Before(outer.Begin.Add(-slew)) || s.end().After(outer.end().Add(slew)) && outer.Name != "pod start" && outer.Name != "pod end":
			t.Errorf("%s, %s to %s, is not inside of %s, %s to %s", s.Name, s.Begin, s.end(), outer.Name, outer.Begin, outer.end())
		}
	}
}

// sink is a collector that speaks OTLP over gRPC.
type sink struct {
	collector.UnimplementedTraceServiceServer
	endpoint string

	mu    sync.Mutex
	spans map[string]string // name and trace by ID
}

func startSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, server := &sink{endpoint: "http://" + l.Addr().String(), spans: map[string]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s
}

// Export implements the collector's service.
func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, sp := range ss.Spans {
				s.spans[hex.EncodeToString(sp.SpanId)] = sp.Name + " of " + hex.EncodeToString(sp.TraceId)
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// same checks that the collector got what carob trace shows.
func (s *sink) same(t *testing.T, tr trace) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := 0
	for _, sp := range tr.Spans {
		if s.spans[sp.SpanID] != sp.Name+" of "+tr.TraceID {
			t.Errorf("the collector got %q for the span %s %q", s.spans[sp.SpanID], sp.SpanID, sp.Name)
		}
		got++
	}
	if got < 40 || len(s.spans) < got {
		t.Errorf("%d spans show, %d came", got, len(s.spans))
	}
}
