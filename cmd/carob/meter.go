package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/usage"
	"github.com/carob-project/carob/pkg/volume"
)

// meter reads counters from control groups and, of the machine, from /proc.
type meter struct {
	cgroups *cgroup.Manager
	machine nodestatus.Machine
}

// NodeUsage implements agent.Meter.
func (m meter) NodeUsage(context.Context) (usage.Counters, error) {
	cpu, memory, err := m.machine.Use()
	return usage.Counters{At: time.Now(), CPU: cpu, Memory: memory}, err
}

// ContainerUsage implements agent.Meter.
func (m meter) ContainerUsage(p *corev1.Pod, id string) (usage.Counters, error) {
	s, err := m.cgroups.ContainerStats(groupOf(p), ctrd.ScopePrefix, id)
	return usage.Counters{At: time.Now(), CPU: s.CPUUsage, Memory: s.MemoryWorkingSet}, err
}

// diskMeter measures volumes and logs where they lie, and asks containerd for
// the rest.
type diskMeter struct {
	volumes *volume.Manager
	runtime *ctrd.Runtime
	dataDir string
}

// VolumeUse implements agent.DiskMeter.
func (m *diskMeter) VolumeUse(ctx context.Context, p *corev1.Pod) (map[string]eviction.Disk, error) {
	var names []string
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; eviction.OnDisk(v) {
			names = append(names, v.Name)
		}
	}
	used, err := m.volumes.Usage(ctx, p.UID, names)
	if err != nil {
		return nil, err
	}
	out := make(map[string]eviction.Disk, len(used))
	for name, u := range used {
		out[name] = eviction.Disk(u)
	}
	return out, nil
}

// LogUse implements agent.DiskMeter.
func (m *diskMeter) LogUse(ctx context.Context, p *corev1.Pod, container string) (eviction.Disk, error) {
	u, err := m.volumes.LogUsage(ctx, p.UID, container)
	return eviction.Disk(u), err
}

// LayerUse implements agent.DiskMeter.
func (m *diskMeter) LayerUse(ctx context.Context, id string) (eviction.Disk, error) {
	bytes, inodes, err := m.runtime.LayerUse(ctx, id)
	return eviction.Disk{Bytes: bytes, Inodes: inodes}, err
}

// ImageDisk implements agent.DiskMeter.
func (m *diskMeter) ImageDisk(ctx context.Context) (eviction.FileSystem, error) {
	root, err := m.runtime.ImageRoot(ctx)
	if err != nil {
		return eviction.FileSystem{}, err
	}
	if root == "" {
		root = m.dataDir
	}
	d, err := nodestatus.ReadDisk(root)
	if err != nil {
		return eviction.FileSystem{}, err
	}
	own, err := nodestatus.OtherDisk(root, m.dataDir)
	return eviction.FileSystem{
		Capacity: d.Total, Available: d.Available, Inodes: d.Inodes, InodesFree: d.InodesFree, Own: own,
	}, err
}

// bounds are those of the group of all pods.
type bounds struct{ cgroups *cgroup.Manager }

// Name implements agent.Bounds.
func (b bounds) Name() string { return b.cgroups.ParentFor(cgroup.AllPods) }

// Bound implements agent.Bounds.
func (b bounds) Bound(r pod.Resources) error { return b.cgroups.Bound(r) }

// PodsMemory implements agent.Bounds.
func (b bounds) PodsMemory() (int64, error) {
	s, err := b.cgroups.Stats(cgroup.AllPods)
	return int64(s.MemoryWorkingSet), err
}

// PodUse implements agent.Bounds.
func (b bounds) PodUse(p *corev1.Pod) (memory, processes int64, err error) {
	s, err := b.cgroups.Stats(groupOf(p))
	return int64(s.MemoryWorkingSet), int64(s.PIDs), err
}
