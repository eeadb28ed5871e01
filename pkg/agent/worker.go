package agent

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	// holdFirst and holdLast bound the pause after a part did not answer.
	holdFirst = time.Second
	holdLast  = 15 * time.Second
	// idleWake is how long a worker sleeps that nothing wakes.
	idleWake = time.Hour
)

// worker takes care of one pod UID from its first sight until nothing of it
// is left. Only its own goroutine plans; steps run in goroutines of theirs.
type worker struct {
	a    *Agent
	ref  pod.Ref
	log  *zap.Logger
	wake chan struct{}

	files hostFiles
	// granted is guarded by the agent's mu.
	granted granted
	steps   sync.WaitGroup

	mu       sync.Mutex
	pod      *corev1.Pod // as the API last had it
	gone     time.Time   // when it was seen to be gone from the API
	eviction *pod.Eviction
	status   *corev1.PodStatus // as last computed
	flights  map[pod.StepID]*flight
	outcomes []outcome
	found    map[string]pod.Probes // by attempt: what its probes found
	back     bool                  // a part that did not answer may be back
	outdated bool                  // an object that its volumes show has changed
	fetched  map[string]string     // by container: what was pulled for its next attempt; see fetches

	// What follows belongs to the worker's goroutine.
	failures   map[pod.StepID]pod.Failure
	stops      map[string]time.Time
	kills      map[string]time.Time
	pulls      map[string]time.Time
	access     map[string]access // by image
	hooks      map[string]pod.Hooks
	probing    map[probeKey]context.CancelFunc
	stopping   time.Time // since when the whole pod is being stopped
	endings    map[string]ending
	notices    map[pod.Notice]struct{}
	guard      guard
	stale      bool // a step has changed what runs since the last look
	generation int64
	class      *string // the handler of the pod's runtime class, once known
	deleted    bool    // the API object's deletion has been asked for
	holdUntil  time.Time
	holdStep   time.Duration
	refreshed  time.Time
	shown      *metav1.ObjectMeta // the metadata that volumes show
}

// flight is a step under way, until the worker has taken in how it ended.
type flight struct {
	step   pod.Step
	since  time.Time
	note   string // guarded by the worker's mu
	cancel context.CancelFunc
}

// outcome is how a step ended.
type outcome struct {
	step  pod.Step
	since time.Time
	at    time.Time
	err   error
}

func newWorker(a *Agent, p *corev1.Pod, ev *pod.Eviction) *worker {
	ref := pod.RefOf(p)
	return &worker{
		a: a, ref: ref, pod: p, eviction: ev, generation: p.Generation,
		log:       a.log.With(zap.String("pod", ref.Namespace+"/"+ref.Name), zap.String("uid", string(ref.UID))),
		wake:      make(chan struct{}, 1),
		files:     hostFiles{turn: make(turns, 1), volumes: a.o.Volumes},
		flights:   map[pod.StepID]*flight{},
		failures:  map[pod.StepID]pod.Failure{},
		stops:     map[string]time.Time{},
		hooks:     map[string]pod.Hooks{},
		probing:   map[probeKey]context.CancelFunc{},
		found:     map[string]pod.Probes{},
		endings:   map[string]ending{},
		notices:   map[pod.Notice]struct{}{},
		kills:     map[string]time.Time{},
		pulls:     map[string]time.Time{},
		access:    map[string]access{},
		fetched:   map[string]string{},
		guard:     guard{},
		refreshed: a.clock(),
	}
}

// poke makes the worker look again.
func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// update takes in a newer state of the API object.
func (w *worker) update(p *corev1.Pod) {
	w.mu.Lock()
	w.pod = p
	w.mu.Unlock()
	w.poke()
}

// lost takes in that the API object is gone; last is its final state.
func (w *worker) lost(last *corev1.Pod, now time.Time) {
	w.mu.Lock()
	w.pod = last
	if w.gone.IsZero() {
		w.gone = now
	}
	w.mu.Unlock()
	w.poke()
}

// evict ends the pod for good, unless it has ended already.
func (w *worker) evict(ev pod.Eviction) {
	w.mu.Lock()
	if w.eviction == nil {
		w.eviction = &ev
	}
	w.mu.Unlock()
	w.poke()
}

// partsBack ends the pause after a part did not answer.
func (w *worker) partsBack() {
	w.mu.Lock()
	w.back = true
	w.mu.Unlock()
	w.poke()
}

// snapshot returns the API object with the newest status known. A phase that
// ends the pod counts only when the API has it.
func (w *worker) snapshot() *corev1.Pod {
	w.mu.Lock()
	p := *w.pod
	st := w.status
	w.mu.Unlock()
	if have, ok := w.a.status.reported(w.ref.UID); ok {
		p.Status = have
	}
	if st == nil {
		return &p
	}
	have := p.Status
	p.Status = mergeStatus(have, *st)
	if terminal(p.Status.Phase) && !terminal(have.Phase) {
		p.Status.Phase, p.Status.Reason, p.Status.Message = have.Phase, have.Reason, have.Message
	}
	return &p
}

// subject returns the pod to plan for. One that is gone from the API is
// planned for as one that was deleted when it was seen to be gone.
func (w *worker) subject() (p *corev1.Pod, gone bool) {
	p = w.snapshot()
	w.mu.Lock()
	at := w.gone
	w.mu.Unlock()
	if at.IsZero() {
		return p, false
	}
	return asDeleted(p, at), true
}

// asDeleted returns the pod as a graceful deletion at the given time would
// have marked it, with its own grace period. A deletion that the API had
// marked already keeps its terms.
func asDeleted(p *corev1.Pod, at time.Time) *corev1.Pod {
	if p.DeletionTimestamp != nil {
		return p
	}
	q := *p
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = *s
	}
	deadline := metav1.NewTime(at.Add(time.Duration(grace) * time.Second))
	q.DeletionTimestamp, q.DeletionGracePeriodSeconds = &deadline, &grace
	return &q
}

// run works until the pod is done with or ctx ends, and returns when none of
// its steps runs any more.
func (w *worker) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.steps.Wait()
	defer cancel()
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-t.C:
		}
		wait, done := w.round(ctx)
		if done {
			// Only pulls can be under way, and nobody needs them.
			cancel()
			w.steps.Wait()
			w.a.copiers.drop(ctx, w.ref.UID)
			w.a.forget(w)
			return
		}
		t.Reset(wait)
	}
}

// round observes, plans, begins steps and reports. It returns after what time
// to do so again, or that the pod is done with.
func (w *worker) round(ctx context.Context) (wait time.Duration, done bool) {
	w.collect()
	if wait := w.held(); wait > 0 {
		return wait, false
	}
	p, gone := w.subject()
	w.adjust(p)
	if p.DeletionTimestamp != nil {
		w.a.stages.end(w.ref.UID)
	}
	lctx, looked := w.look(ctx)
	p, resize := w.a.allot(w, p)
	o, err := w.observe(lctx, p)
	looked(err)
	if err != nil {
		return w.hold("the pod cannot be observed", err), false
	}
	o.Resize, o.Limits = resize, w.limits(p, o)
	o.Deleted = gone || w.deleted
	w.holdStep = 0
	now := w.a.clock()
	d := pod.Plan(p, o, now)
	w.notify(p, d.Notices)
	w.noteStopping(d.Stopping, now)
	// A pod that keeps its object for a finalizer stays until that is gone.
	if d.Done && gone {
		return 0, true
	}
	wait = idleWake
	if !d.Wake.IsZero() {
		wait = max(d.Wake.Sub(now), 0)
	}
	for _, s := range d.Steps {
		wait = min(wait, w.begin(ctx, p, s, o, now))
	}
	wait = min(wait, w.refresh(ctx, p, o, now), resizeWait(resize))
	if !gone {
		o.InFlight = w.inFlight()
		w.report(p, o, now)
	}
	w.probe(ctx, p, o, now)
	return wait, false
}

// report computes the status and hands it to the writer.
func (w *worker) report(p *corev1.Pod, o pod.Observed, now time.Time) {
	st := pod.Status(p, o, now)
	w.tellResize(p, st, o.Resize)
	w.mu.Lock()
	w.status = &st
	w.mu.Unlock()
	if terminal(st.Phase) {
		w.a.release(w.ref.UID)
	}
	w.a.status.set(w.ref.UID, st)
}

// held returns for how long the worker still has to pause.
func (w *worker) held() time.Duration {
	w.mu.Lock()
	back := w.back
	w.back = false
	w.mu.Unlock()
	if back {
		w.holdUntil = time.Time{}
	}
	return w.holdUntil.Sub(w.a.clock())
}

// hold begins a pause after err.
func (w *worker) hold(what string, err error) time.Duration {
	w.holdStep = min(max(2*w.holdStep, holdFirst), holdLast)
	w.holdUntil = w.a.clock().Add(w.holdStep)
	w.log.Debug(what, zap.Error(err), zap.Duration("retry", w.holdStep))
	return w.holdStep
}

// adjust drops what a newer state of the pod makes pointless: failures that
// were final for the old spec, and pulls for a pod that is ending.
func (w *worker) adjust(p *corev1.Pod) {
	if p.Generation != w.generation {
		w.generation = p.Generation
		for id, f := range w.failures {
			// A resize that failed may be another one now.
			if f.Final || id == (pod.Step{Kind: pod.StepResize}).ID() {
				delete(w.failures, id)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.DeletionTimestamp == nil && w.eviction == nil {
		return
	}
	for _, f := range w.flights {
		if f.step.Kind == pod.StepPullImage {
			f.cancel()
		}
	}
}

// notify records the notices that the last decision did not have yet.
func (w *worker) notify(p *corev1.Pod, notices []pod.Notice) {
	now := make(map[pod.Notice]struct{}, len(notices))
	for _, n := range notices {
		if _, said := w.notices[n]; !said {
			w.event(p, n.Container, n.Type, n.Reason, "%s", n.Message)
		}
		now[n] = struct{}{}
	}
	w.notices = now
}

// collect takes in how steps ended since the last round.
func (w *worker) collect() {
	w.mu.Lock()
	list := w.outcomes
	w.outcomes = nil
	for _, oc := range list {
		delete(w.flights, oc.step.ID())
	}
	w.mu.Unlock()
	for _, oc := range list {
		w.record(oc)
	}
}

func (w *worker) record(oc outcome) {
	id := oc.step.ID()
	switch {
	case oc.err == nil:
		delete(w.failures, id)
	case errors.Is(oc.err, context.Canceled):
		// Given up on purpose; it says nothing about the step.
	case w.hookFailed(oc):
	case errors.Is(oc.err, pod.ErrUnavailable):
		w.hold("a part of the node does not answer", oc.err)
	default:
		w.failures[id] = failureOf(oc.step.Kind, oc.err, w.failures[id], oc.at)
	}
	switch oc.step.Kind {
	case pod.StepCreateContainer, pod.StepStartContainer, pod.StepSignalContainer, pod.StepRemoveContainer, pod.StepResize:
		w.stale = true
	}
	if oc.err == nil {
		w.remember(oc)
	}
}

// remember keeps of a step that succeeded what Plan asks about.
func (w *worker) remember(oc outcome) {
	switch oc.step.Kind {
	case pod.StepDeletePod:
		w.deleted = true
	case pod.StepPostStart, pod.StepPreStop:
		w.hookEnded(oc.step, pod.HookDone, "")
	case pod.StepRemoveVolumes:
		w.files.reset()
	case pod.StepPullImage:
		w.pulls[oc.step.Image] = oc.at
	case pod.StepSignalContainer:
		if _, had := w.stops[oc.step.Attempt]; !had {
			w.stops[oc.step.Attempt] = oc.since
		}
		if oc.step.Signal == syscall.SIGKILL {
			w.kills[oc.step.Attempt] = oc.since
		}
	}
}

func (w *worker) inFlight() map[pod.StepID]pod.Flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[pod.StepID]pod.Flight, len(w.flights))
	for id, f := range w.flights {
		out[id] = pod.Flight{Since: f.since, Note: f.note}
	}
	return out
}
