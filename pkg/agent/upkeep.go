package agent

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/carob-project/carob/pkg/pod"
)

// Volumes are brought up to date when what they show is seen to change. From
// time to time they are anyway: for tokens that are to be replaced, and against
// hands that changed the files. What is not watched is looked at more often.
const (
	refreshEvery   = 5 * time.Minute
	refreshUnknown = time.Minute
)

// refresh brings volumes that show API objects up to date, from time to time
// and when an object or the pod's own metadata changed. It returns when to do
// so next.
func (w *worker) refresh(ctx context.Context, p *corev1.Pod, o pod.Observed, now time.Time) time.Duration {
	meta := p.ObjectMeta
	changed := w.shown != nil && (!equality.Semantic.DeepEqual(w.shown.Labels, meta.Labels) ||
		!equality.Semantic.DeepEqual(w.shown.Annotations, meta.Annotations))
	w.shown = &meta
	outdated := w.markOutdated(changed)
	if !shows(p) || !o.VolumesReady || p.DeletionTimestamp != nil || terminal(p.Status.Phase) {
		return idleWake
	}
	// The step is the one that makes them, so that it never meets itself or
	// their removal. One under way may have read what is outdated now; its end
	// wakes the worker again.
	step := pod.Step{Kind: pod.StepPrepareVolumes}
	every := w.refreshAfter(p, step)
	if wait := w.refreshed.Add(every).Sub(now); wait > 0 && !outdated {
		return wait
	}
	if w.flying(step) {
		return idleWake
	}
	w.clearOutdated()
	w.refreshed = now
	return min(every, w.begin(ctx, p, step, o, now))
}

// markOutdated notes that the volumes are to be brought up to date, if they
// are, and says whether that is still to be done.
func (w *worker) markOutdated(are bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outdated = w.outdated || are
	return w.outdated
}

func (w *worker) clearOutdated() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outdated = false
}

func (w *worker) flying(s pod.Step) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, runs := w.flights[s.ID()]
	return runs
}

// refreshAfter says how long the pod's volumes are taken to be up to date while
// nothing is seen to change. Nobody tells of bundles of certificates, nor of
// limits as the downward API has them; a token's time may be short; and what
// has failed is tried again.
func (w *worker) refreshAfter(p *corev1.Pod, s pod.Step) time.Duration {
	if _, failed := w.failures[s.ID()]; failed {
		return refreshUnknown
	}
	for _, v := range p.Spec.Volumes {
		if v.DownwardAPI != nil && slices.ContainsFunc(v.DownwardAPI.Items, ofResource) {
			return refreshUnknown
		}
		if v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, unknown) {
			return refreshUnknown
		}
	}
	return refreshEvery
}

func ofResource(f corev1.DownwardAPIVolumeFile) bool { return f.ResourceFieldRef != nil }

// longToken is how many seconds a token is good for that need not be looked at
// more often: it is replaced when a fifth of them is left.
const longToken = 3600

func unknown(s corev1.VolumeProjection) bool {
	t := s.ServiceAccountToken
	return s.ClusterTrustBundle != nil ||
		s.DownwardAPI != nil && slices.ContainsFunc(s.DownwardAPI.Items, ofResource) ||
		t != nil && (t.ExpirationSeconds == nil || *t.ExpirationSeconds < longToken)
}

// shows says whether a volume of the pod shows API objects.
func shows(p *corev1.Pod) bool {
	for _, v := range p.Spec.Volumes {
		if v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil {
			return true
		}
	}
	return false
}
