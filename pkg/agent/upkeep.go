package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/carob-project/carob/pkg/pod"
)

// refresh brings volumes that show API objects up to date, from time to time
// and when the pod's own metadata changed. It returns when to do so next.
func (w *worker) refresh(ctx context.Context, p *corev1.Pod, o pod.Observed, now time.Time) time.Duration {
	meta := p.ObjectMeta
	changed := w.shown != nil && (!equality.Semantic.DeepEqual(w.shown.Labels, meta.Labels) ||
		!equality.Semantic.DeepEqual(w.shown.Annotations, meta.Annotations))
	w.shown = &meta
	if !shows(p) || !o.VolumesReady || p.DeletionTimestamp != nil || terminal(p.Status.Phase) {
		return idleWake
	}
	if wait := w.refreshed.Add(refreshEvery).Sub(now); wait > 0 && !changed {
		return wait
	}
	w.refreshed = now
	// The step is the one that makes them, so that it never meets itself or
	// their removal.
	return min(refreshEvery, w.begin(ctx, p, pod.Step{Kind: pod.StepPrepareVolumes}, o, now))
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
