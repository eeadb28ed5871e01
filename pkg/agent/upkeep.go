package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/carob-project/carob/pkg/pod"
)

// enforceSizes ends pods whose emptyDir volumes hold more than they may.
func (a *Agent) enforceSizes(ctx context.Context) {
	for sleep(ctx, sizeCheckEvery) {
		for _, w := range a.allWorkers() {
			p := w.snapshot()
			if !limited(p) || p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil {
				continue
			}
			usage, err := a.o.VolumeUsage.EmptyDirUsage(ctx, p)
			if err != nil {
				w.log.Debug("volumes cannot be measured", zap.Error(err))
				continue
			}
			if ev := overSize(p, usage); ev != nil {
				w.evict(*ev)
			}
		}
	}
}

// limited says whether a volume of the pod has a size limit to watch.
func limited(p *corev1.Pod) bool {
	for _, v := range p.Spec.Volumes {
		if sizeLimit(v) > 0 {
			return true
		}
	}
	return false
}

func sizeLimit(v corev1.Volume) int64 {
	if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil {
		return 0
	}
	return v.EmptyDir.SizeLimit.Value()
}

// overSize returns why the pod has to end, or nil.
func overSize(p *corev1.Pod, usage map[string]int64) *pod.Eviction {
	for _, v := range p.Spec.Volumes {
		limit := sizeLimit(v)
		if limit == 0 || usage[v.Name] <= limit {
			continue
		}
		return &pod.Eviction{
			Reason: pod.ReasonEvicted, Disrupts: true,
			Message: fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ",
				v.Name, v.EmptyDir.SizeLimit.String()),
		}
	}
	return nil
}

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
