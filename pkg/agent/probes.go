package agent

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/probe"
)

// probeKey names one probe of one attempt.
type probeKey struct {
	attempt string
	kind    pod.ProbeKind
}

// probe begins the probes that are due for the attempts that run, and ends
// those that are not any more. The status decides which: it knows what is
// running and started, also what an earlier agent has seen.
func (w *worker) probe(ctx context.Context, p *corev1.Pod, o pod.Observed, now time.Time) {
	if !probed(p) {
		return
	}
	due := w.dueProbes(p, o, now)
	maps.DeleteFunc(w.probing, func(k probeKey, cancel context.CancelFunc) bool {
		if _, ok := due[k]; !ok {
			cancel()
			return true
		}
		return false
	})
	for k, run := range due {
		if w.probing[k] != nil {
			continue
		}
		pctx, cancel := context.WithCancel(ctx)
		w.probing[k] = cancel
		w.steps.Go(func() {
			defer cancel()
			run(pctx)
		})
	}
}

// probed says whether the pod has any probe.
func probed(p *corev1.Pod) bool {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil {
			return true
		}
	}
	return false
}

// dueProbes returns the probes that have to be running.
func (w *worker) dueProbes(p *corev1.Pod, o pod.Observed, now time.Time) map[probeKey]func(context.Context) {
	due := map[probeKey]func(context.Context){}
	st := pod.Status(p, o, now)
	for _, s := range slices.Concat(st.InitContainerStatuses, st.ContainerStatuses) {
		i := slices.IndexFunc(o.Attempts, func(a pod.Attempt) bool {
			return a.State == pod.AttemptRunning && a.Container == s.Name && strings.HasSuffix(s.ContainerID, "://"+a.ID)
		})
		if i < 0 || s.State.Running == nil {
			continue
		}
		at := o.Attempts[i]
		c, _ := pod.FindContainer(p, s.Name)
		add := func(kind pod.ProbeKind, pr *corev1.Probe) {
			if pr == nil {
				return
			}
			due[probeKey{at.ID, kind}] = func(ctx context.Context) { w.runProbe(ctx, p, kind, pr, at, w.target(c, at.ID, o)) }
		}
		started, failed := s.Started != nil && *s.Started, o.Probes[at.ID].Failed != ""
		// What is being stopped is not asked whether it lives.
		keep := p.DeletionTimestamp == nil && w.stopping.IsZero() && !failed
		if keep && !started {
			add(pod.StartupProbe, c.StartupProbe)
		}
		if started {
			add(pod.ReadinessProbe, c.ReadinessProbe)
			if keep {
				add(pod.LivenessProbe, c.LivenessProbe)
			}
		}
	}
	return due
}

// runProbe runs one probe until ctx ends or its last verdict.
func (w *worker) runProbe(ctx context.Context, p *corev1.Pod, kind pod.ProbeKind, pr *corev1.Probe, at pod.Attempt, t probe.Target) {
	tt := probe.Timetable{Probe: pr, StartedAt: at.StartedAt}
	switch kind {
	case pod.StartupProbe:
		tt.Last = func(probe.Verdict) bool { return true }
	case pod.LivenessProbe:
		tt.First = probe.Passed
		tt.Last = func(v probe.Verdict) bool { return v == probe.Failed }
	}
	probe.Loop(ctx, tt, func(ctx context.Context) probe.Result {
		r := w.a.probes.Probe(ctx, pr, t)
		if ctx.Err() == nil {
			w.tellProbe(p, t.Container.Name, kind, r)
		}
		return r
	}, func(v probe.Verdict) { w.decided(at.ID, kind, v) })
}

// tellProbe records the event of a probe that did not simply succeed.
func (w *worker) tellProbe(p *corev1.Pod, container string, kind pod.ProbeKind, r probe.Result) {
	name := strings.ToUpper(string(kind[:1])) + string(kind[1:])
	switch r.Outcome {
	case probe.Failure:
		w.warning(p, container, reasonUnhealthy, "%s probe failed: %s", name, r.Output)
	case probe.Warning:
		w.warning(p, container, reasonProbeWarning, "%s probe warning: %s", name, r.Output)
	case probe.Unknown:
		w.warning(p, container, reasonUnhealthy, "%s probe errored and resulted in unknown state: %s", name, r.Output)
	}
}

// decided takes in a new verdict.
func (w *worker) decided(attempt string, kind pod.ProbeKind, v probe.Verdict) {
	w.mu.Lock()
	f := w.found[attempt]
	switch {
	case kind == pod.ReadinessProbe:
		ready := v == probe.Passed
		f.Ready = &ready
	case v == probe.Failed:
		f.Failed = kind
	case kind == pod.StartupProbe:
		f.Started = true
	}
	w.found[attempt] = f
	w.mu.Unlock()
	w.poke()
}

// dropEnded forgets what probes found in attempts that are gone, and cancels
// the hooks of those that do not run any more.
func (w *worker) dropEnded(list []pod.Attempt) {
	state := make(map[string]pod.AttemptState, len(list))
	for _, at := range list {
		state[at.ID] = at.State
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.found, func(id string, _ pod.Probes) bool { _, ok := state[id]; return !ok })
	for _, f := range w.flights {
		if f.step.Kind != pod.StepPostStart && f.step.Kind != pod.StepPreStop {
			continue
		}
		if s, ok := state[f.step.Attempt]; !ok || s == pod.AttemptExited {
			f.cancel()
		}
	}
}
