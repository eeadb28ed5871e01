package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/pod"
)

// groups are the control groups of pods, as the agent asks for them.
type groups struct {
	cgroups   *cgroup.Manager
	pidsLimit int64
	qos       pod.MemoryQoS
}

func groupOf(p *corev1.Pod) string {
	return cgroup.PodName(cgroup.QoS(pod.QOSClass(p)), string(p.UID))
}

// ofPod adds to the resources of a pod's group what the node's settings say.
func (g groups) ofPod(p *corev1.Pod, r pod.Resources) pod.Resources {
	r = g.qos.Pod(r, p)
	r.PIDsLimit = g.pidsLimit
	return r
}

// ResizePod implements agent.Groups.
func (g groups) ResizePod(ctx context.Context, p *corev1.Pod, r pod.Resources) error {
	return g.cgroups.ResizePod(ctx, groupOf(p), g.ofPod(p, r))
}

// PodLimits implements agent.Groups.
func (g groups) PodLimits(p *corev1.Pod) (pod.Resources, error) {
	return g.cgroups.PodLimits(groupOf(p))
}

// ContainerLimits implements agent.Groups.
func (g groups) ContainerLimits(p *corev1.Pod, id string) (pod.Resources, error) {
	return g.cgroups.ContainerLimits(groupOf(p), ctrd.ScopePrefix, id)
}

// MemoryUsage implements agent.Groups.
func (g groups) MemoryUsage(p *corev1.Pod, id string) (int64, error) {
	var s cgroup.Stats
	var err error
	if id == "" {
		s, err = g.cgroups.Stats(groupOf(p))
	} else {
		s, err = g.cgroups.ContainerStats(groupOf(p), ctrd.ScopePrefix, id)
	}
	return int64(s.MemoryUsage), err //nolint:gosec // bytes of a machine
}
