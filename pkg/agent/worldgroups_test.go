package agent_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// SetResources implements agent.Resizer.
func (w *world) SetResources(ctx context.Context, id string, r pod.Resources, specHash, applied string) error {
	return w.do(ctx, "set-resources", true, func() error {
		a := w.attempts[id]
		if a == nil || a.State == pod.AttemptExited {
			return fmt.Errorf("%s: %w", id, pod.ErrNotFound)
		}
		a.SpecHash, a.Applied = specHash, applied
		w.limits[id] = pod.Lifted(r)
		w.resizes = append(w.resizes, id)
		w.tell(a.Pod.UID)
		return nil
	})
}

// groups are the control groups of a world. Those of a pod are there as soon
// as somebody asks, with the limits of its spec.
type groups struct{ w *world }

func (g groups) ResizePod(ctx context.Context, p *corev1.Pod, r pod.Resources) error {
	return g.w.do(ctx, "resize-pod", true, func() error {
		g.w.limits[string(p.UID)] = r
		g.w.resizes = append(g.w.resizes, string(p.UID))
		return nil
	})
}

func (g groups) PodLimits(p *corev1.Pod) (r pod.Resources, err error) {
	g.w.locked(func() {
		var ok bool
		if r, ok = g.w.limits[string(p.UID)]; !ok {
			r = pod.Lifted(pod.PodResources(p))
			g.w.limits[string(p.UID)] = r
		}
	})
	return r, nil
}

func (g groups) ContainerLimits(_ *corev1.Pod, id string) (r pod.Resources, err error) {
	g.w.locked(func() {
		var ok bool
		if r, ok = g.w.limits[id]; !ok {
			err = fmt.Errorf("group %s: %w", id, pod.ErrNotFound)
		}
	})
	return r, err
}

func (g groups) MemoryUsage(_ *corev1.Pod, id string) (n int64, err error) {
	g.w.locked(func() { n = g.w.memory[id] })
	return n, nil
}
