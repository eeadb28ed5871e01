package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/usage"
)

// readEvery is how often counters are read for later comparison: a rate is
// told over one to two of these.
const readEvery = 15 * time.Second

// nodeKey is the machine's key in the history; attempts have their IDs.
const nodeKey = ""

// keepReadings reads all counters from time to time.
func (a *Agent) keepReadings(ctx context.Context) {
	for {
		round := map[string]usage.Counters{}
		if c, err := a.o.Meter.NodeUsage(ctx); err == nil {
			round[nodeKey] = c
		} else {
			a.log.Debug("the use of the machine cannot be read", zap.Error(err))
		}
		for _, w := range a.allWorkers() {
			p, attempts := w.running()
			for _, at := range attempts {
				// One that has just ended has no counters any more.
				if c, err := a.o.Meter.ContainerUsage(p, at.ID); err == nil {
					round[at.ID] = c
				}
			}
		}
		a.history.Keep(round)
		if !sleep(ctx, readEvery) {
			return
		}
	}
}

// running returns the pod and those of its attempts that run.
func (w *worker) running() (*corev1.Pod, []pod.Attempt) {
	w.mu.Lock()
	p := w.pod
	w.mu.Unlock()
	all, _ := w.a.view.cached(w.ref.UID) // what was last seen is enough
	var out []pod.Attempt
	for _, at := range all {
		if at.State == pod.AttemptRunning {
			out = append(out, at)
		}
	}
	return p, out
}

// NodeMetrics implements server.Metrics. The list is empty until there is
// something to compare with.
func (a *Agent) NodeMetrics(ctx context.Context) (*metricsv1beta1.NodeMetricsList, error) {
	list := &metricsv1beta1.NodeMetricsList{Items: []metricsv1beta1.NodeMetrics{}}
	now, err := a.o.Meter.NodeUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the use of the machine: %w", err)
	}
	use, ok := a.history.Use(nodeKey, time.Time{}, now)
	if !ok {
		return list, nil
	}
	list.Items = append(list.Items, metricsv1beta1.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: a.o.NodeName},
		Timestamp:  metav1.NewTime(use.At), Window: metav1.Duration{Duration: use.Window}, Usage: resources(use),
	})
	return list, nil
}

// PodMetrics implements server.Metrics. Pods of which a container that runs
// cannot be told about yet are left out, as their sum would be wrong.
func (a *Agent) PodMetrics(context.Context) (*metricsv1beta1.PodMetricsList, error) {
	list := &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{}}
	for _, w := range a.allWorkers() {
		if m := a.podMetrics(w); m != nil {
			list.Items = append(list.Items, *m)
		}
	}
	return list, nil
}

func (a *Agent) podMetrics(w *worker) *metricsv1beta1.PodMetrics {
	p, attempts := w.running()
	m := &metricsv1beta1.PodMetrics{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, CreationTimestamp: p.CreationTimestamp,
	}}
	for _, at := range attempts {
		now, err := a.o.Meter.ContainerUsage(p, at.ID)
		if err != nil {
			continue // it has just ended
		}
		use, ok := a.history.Use(at.ID, at.StartedAt, now)
		if !ok {
			return nil
		}
		// The pod's window is the one of the container read first.
		if m.Containers == nil {
			m.Timestamp, m.Window = metav1.NewTime(use.At), metav1.Duration{Duration: use.Window}
		}
		m.Containers = append(m.Containers, metricsv1beta1.ContainerMetrics{Name: at.Container, Usage: resources(use)})
	}
	if m.Containers == nil {
		return nil
	}
	return m
}

func resources(use usage.Use) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(use.NanoCores), resource.Nano), //nolint:gosec // cores of a machine
		corev1.ResourceMemory: *resource.NewQuantity(int64(use.Memory), resource.BinarySI),      //nolint:gosec // bytes of a machine
	}
}
