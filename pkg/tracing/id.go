package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// Stage is a part of a pod's life. The start and the end have a root span each,
// whose ID follows from the pod's UID as the trace's does; what lies between
// them, such as restarts, has none.
type Stage string

// The stages.
const (
	Start Stage = "start"
	Later Stage = "later"
	End   Stage = "end"
)

// TraceID returns the trace of a pod: the UID without its dashes where it is a
// UUID, as every UID that the API server gives is, else the first half of its
// SHA-256.
func TraceID(uid types.UID) trace.TraceID {
	if id, err := uuid.Parse(string(uid)); err == nil && id != uuid.Nil {
		return trace.TraceID(id)
	}
	sum := sha256.Sum256([]byte(uid))
	return trace.TraceID(sum[:16])
}

// RootID returns the root span of a stage: the first 8 bytes of the SHA-256 of
// UID, a slash and the stage's name.
func RootID(uid types.UID, s Stage) trace.SpanID {
	sum := sha256.Sum256([]byte(string(uid) + "/" + string(s)))
	return trace.SpanID(sum[:8])
}

// sampled says whether a trace is exported. It looks at the part of the ID that
// is random in a UUID too, and so every process decides alike.
func sampled(id trace.TraceID, ratio float64) bool {
	const bits = 56
	random := binary.BigEndian.Uint64(id[8:]) & (1<<bits - 1)
	return float64(random) < ratio*(1<<bits)
}

// ids gives a span without a parent the IDs that its context carries, and every
// other one a random ID.
type ids struct{}

type wantedKey struct{}

// wanted are the IDs of a span without a parent; no span ID: a random one.
type wanted struct {
	trace trace.TraceID
	span  trace.SpanID
}

// NewIDs implements sdktrace.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	w, _ := ctx.Value(wantedKey{}).(wanted)
	for !w.trace.IsValid() {
		_, _ = rand.Read(w.trace[:]) // it cannot fail
	}
	if !w.span.IsValid() {
		w.span = g.NewSpanID(ctx, w.trace)
	}
	return w.trace, w.span
}

// NewSpanID implements sdktrace.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	for !id.IsValid() {
		_, _ = rand.Read(id[:]) // it cannot fail
	}
	return id
}
