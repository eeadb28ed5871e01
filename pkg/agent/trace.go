package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// stages knows of each pod whether it is starting, and begins its spans where
// they belong. The zero Tracer makes it do nothing.
type stages struct {
	tracer *tracing.Tracer

	mu   sync.Mutex
	pods map[types.UID]*stage
}

type stage struct {
	pod     tracing.Pod
	seen    time.Time
	told    bool // of its way here
	started bool
	ending  time.Time
}

func newStages(t *tracing.Tracer) *stages {
	return &stages{tracer: t, pods: map[types.UID]*stage{}}
}

// errNotStarted is how the start of a pod ended that went before.
var errNotStarted = errors.New("the pod did not start")

// saw takes in a pod from the watch. The first sight of one that is new is the
// end of its way here.
func (s *stages) saw(p *corev1.Pod) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pods[p.UID] != nil {
		return
	}
	st := &stage{pod: tracing.Pod{UID: p.UID, Namespace: p.Namespace, Name: p.Name}, seen: now, started: p.Status.Phase != corev1.PodPending}
	s.pods[p.UID] = st
	s.tellWatch(st)
}

// tellWatch records how long the pod was on its way here, as soon as it is
// known when that began: the watch may be faster than the answer to the request
// that gave the pod to its node. An API server in another process does not tell.
func (s *stages) tellWatch(st *stage) {
	if st.started || st.told {
		return
	}
	bound := s.tracer.LastEnd(st.pod.UID, tracing.NameBind)
	if st.told = !bound.IsZero(); !st.told {
		return
	}
	if bound.After(st.seen) {
		bound = st.seen
	}
	s.tracer.Record(st.pod, tracing.Start, tracing.Over{Name: "watch", Begin: bound, End: st.seen})
}

// span begins a span of a pod, which does nothing where it was not seen.
func (s *stages) span(ctx context.Context, uid types.UID, name string, attrs ...attribute.KeyValue) (context.Context, tracing.Done) {
	s.mu.Lock()
	st := s.pods[uid]
	var of tracing.Stage
	switch {
	case st == nil:
	case !st.ending.IsZero():
		of = tracing.End
	case st.started:
		of = tracing.Later
	default:
		of = tracing.Start
		s.tellWatch(st)
	}
	s.mu.Unlock()
	if of == "" {
		return ctx, func(error) {}
	}
	return s.tracer.Span(ctx, st.pod, of, name, attrs...)
}

// starting says whether the pod has not started yet.
func (s *stages) starting(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.pods[uid]
	return st != nil && !st.started && st.ending.IsZero()
}

// written takes in a status that the API has now; one that tells that all
// containers have started ends the start.
func (s *stages) written(uid types.UID, status *corev1.PodStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.pods[uid]; st != nil && !st.started && hasStarted(status) {
		st.started = true
		s.tracer.Root(st.pod, tracing.Start, st.seen, refusal(status))
	}
}

// hasStarted says whether every container runs or has run.
func hasStarted(s *corev1.PodStatus) bool {
	waits := func(c corev1.ContainerStatus) bool { return c.State.Running == nil && c.State.Terminated == nil }
	return terminal(s.Phase) || s.Phase == corev1.PodRunning && !slices.ContainsFunc(s.ContainerStatuses, waits)
}

// refusal is why a pod ended of which nothing has run.
func refusal(s *corev1.PodStatus) error {
	ran := func(c corev1.ContainerStatus) bool { return c.State.Running != nil || c.State.Terminated != nil }
	if s.Phase != corev1.PodFailed || slices.ContainsFunc(s.ContainerStatuses, ran) || slices.ContainsFunc(s.InitContainerStatuses, ran) {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", errNotStarted, s.Reason, s.Message)
}

// end begins the end of a pod.
func (s *stages) end(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.pods[uid]; st != nil && st.ending.IsZero() {
		st.ending = time.Now()
		s.giveUp(st)
	}
}

// forget takes in that nothing of the pod is left.
func (s *stages) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.pods[uid]; st != nil {
		s.giveUp(st)
		s.tracer.Root(st.pod, tracing.End, st.ending, nil)
		delete(s.pods, uid)
	}
}

func (s *stages) giveUp(st *stage) {
	if !st.started {
		st.started = true
		s.tracer.Root(st.pod, tracing.Start, st.seen, errNotStarted)
	}
}

// step begins the span of a step.
func (w *worker) step(ctx context.Context, s pod.Step, o pod.Observed) (context.Context, tracing.Done) {
	var attrs []attribute.KeyValue
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, attribute.String(key, value))
		}
	}
	if name := containerOf(s, o); name != "" {
		number := s.Number
		if at, ok := attemptOf(s, o); ok {
			number = at.Number
		}
		add("container", name)
		add("attempt", strconv.Itoa(number))
	}
	add("image", s.Image)
	add("volume", s.Volume)
	if s.Signal != 0 {
		add("signal", s.Signal.String())
	}
	return w.a.stages.span(ctx, w.ref.UID, strings.ReplaceAll(string(s.Kind), "-", " "), attrs...)
}

// look begins the span of a look at what runs; only a start is worth it.
func (w *worker) look(ctx context.Context) (context.Context, tracing.Done) {
	if !w.a.stages.starting(w.ref.UID) {
		return ctx, func(error) {}
	}
	return w.a.stages.span(ctx, w.ref.UID, "observe", tracing.Minor())
}
