package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/usage"
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
	name := cgroup.PodName(cgroup.QoS(pod.QOSClass(p)), string(p.UID))
	s, err := m.cgroups.ContainerStats(name, ctrd.ScopePrefix, id)
	return usage.Counters{At: time.Now(), CPU: s.CPUUsage, Memory: s.MemoryWorkingSet}, err
}
