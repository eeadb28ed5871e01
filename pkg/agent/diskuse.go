package agent

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

// evictionGrace is the time that containers of a pod have which its node ends.
const evictionGrace = int64(1)

// enforceLimits ends pods that take more of the local disk than they may.
func (a *Agent) enforceLimits(ctx context.Context) {
	for sleep(ctx, sizeCheckEvery) {
		for _, w := range a.allWorkers() {
			if p := w.snapshot(); active(p) && eviction.Limited(p) && !eviction.Critical(p) {
				a.enforceLimit(ctx, w, p)
			}
		}
	}
}

func (a *Agent) enforceLimit(ctx context.Context, w *worker, p *corev1.Pod) {
	use, err := a.diskUse(ctx, w, p, eviction.LimitsStorage(p))
	if err != nil {
		w.log.Debug("the pod's use of the disk cannot be measured", zap.Error(err))
		return
	}
	fs, err := a.o.Disk.ImageDisk(ctx)
	if err != nil {
		w.log.Debug("the disk of the images cannot be read", zap.Error(err))
		return
	}
	if why := eviction.OverLimit(p, use, fs.Own); why != "" {
		grace := evictionGrace
		w.evict(pod.Eviction{Reason: pod.ReasonEvicted, Message: why, Grace: &grace})
	}
}

// diskUse measures the pod's volumes and, with all, what its running containers
// have written beside them.
func (a *Agent) diskUse(ctx context.Context, w *worker, p *corev1.Pod, all bool) (eviction.PodUse, error) {
	var use eviction.PodUse
	var err error
	if use.Volumes, err = a.o.Disk.VolumeUse(ctx, p); err != nil || !all {
		return use, err
	}
	_, attempts := w.running()
	for _, at := range attempts {
		c := eviction.ContainerUse{Name: at.Container, Memory: -1, DiskKnown: true}
		c.Rootfs, err = a.o.Disk.LayerUse(ctx, at.ID)
		if errors.Is(err, pod.ErrNotFound) {
			continue // it has just ended
		}
		if err != nil {
			return use, fmt.Errorf("container %s: %w", at.Container, err)
		}
		if c.Logs, err = a.o.Disk.LogUse(ctx, p, at.Container); err != nil {
			return use, err
		}
		use.Containers = append(use.Containers, c)
	}
	return use, nil
}

// active says whether the node still does something for the pod.
func active(p *corev1.Pod) bool { return !terminal(p.Status.Phase) && p.DeletionTimestamp == nil }
