package loop

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/tracing"
)

// try are the moments of one try to place a pod.
type try struct{ since, popped, decided time.Time }

// record makes the spans of a try that is over. What was written began at
// begun.
func (s *Scheduler) record(it *item, p *corev1.Pod, t try, begun time.Time, d decision, err error) {
	now := time.Now()
	s.mu.Lock()
	it.since = now
	s.mu.Unlock()
	write := "bind"
	switch {
	case d.err != nil:
		write = "tell why not"
	case len(d.volumes) > 0:
		write = "claim volumes"
	}
	var attrs []attribute.KeyValue
	if d.node != "" {
		attrs = append(attrs, attribute.String("node", d.node))
	}
	s.tracer.Record(tracing.Pod{UID: p.UID, Namespace: p.Namespace, Name: p.Name}, tracing.Start, tracing.Over{
		Name: "schedule", Begin: t.since, End: now, Err: err,
		Attributes: attrs,
		Inside: []tracing.Over{
			{Name: "queue", Begin: t.since, End: t.popped},
			{Name: "decide", Begin: t.popped, End: t.decided, Err: d.err},
			{Name: write, Begin: begun, End: now},
		},
	})
}
