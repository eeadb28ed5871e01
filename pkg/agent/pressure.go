package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

// Pressure is when a node protects itself, and what it keeps for itself.
type Pressure struct {
	Thresholds []eviction.Threshold
	// Transition is how long a condition holds after it was last observed;
	// default 5 min.
	Transition time.Duration
	// MaxGrace bounds the grace period of pods that soft thresholds end, in
	// seconds.
	MaxGrace int64
	// Reserved is kept from all pods for the system and for carob.
	Reserved corev1.ResourceList
}

const (
	defaultTransition = 5 * time.Minute
	lookEvery         = 10 * time.Second
	// A victim has this long to be gone before another pod is chosen.
	victimTime  = 30 * time.Second
	victimCheck = time.Second
)

// watchdog belongs to the goroutine that watches the pressure.
type watchdog struct {
	state  eviction.State
	victim *worker
	since  time.Time
}

// watchPressure looks at what is left of the node from time to time and ends
// pods where it is too little, one after the other.
func (a *Agent) watchPressure(ctx context.Context) {
	var d watchdog
	for {
		if !sleep(ctx, a.lookAtPressure(ctx, &d)) {
			return
		}
	}
}

// lookAtPressure returns when to look again.
func (a *Agent) lookAtPressure(ctx context.Context, d *watchdog) time.Duration {
	p := a.o.Pressure
	obs, disks, err := a.observations(ctx)
	if err != nil {
		a.log.Warn("what is left of the node cannot be read", zap.Error(err))
		return lookEvery
	}
	var r eviction.Round
	d.state, r = eviction.Look(d.state, p.Thresholds, obs, p.Transition, a.clock())
	a.setPressure(r.Conditions)
	if len(r.Starved) == 0 {
		return lookEvery
	}
	if v := d.victim; v != nil && a.clock().Sub(d.since) < victimTime {
		if _, running := v.running(); len(running) > 0 {
			return victimCheck
		}
	}
	first := r.Starved[0].Signal
	a.log.Warn("the node runs short", zap.String("signal", string(first)), zap.Int64("available", obs[first].Available))
	a.nodeEvent(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim "+string(first.Resource()))
	if disks.Reclaims(first) && a.reclaim(ctx) {
		a.log.Info("enough was free again without ending a pod")
		return lookEvery
	}
	v := eviction.Choose(r.Starved, obs, disks, a.candidates(ctx, first))
	if v == nil {
		return lookEvery
	}
	if d.victim = a.worker(v.Pod.UID); d.victim == nil {
		return 0
	}
	d.since = a.clock()
	a.log.Warn("evicting a pod", zap.String("pod", v.Pod.Namespace+"/"+v.Pod.Name), zap.String("uid", string(v.Pod.UID)),
		zap.String("why", v.Message))
	grace := evictionGrace
	if v.Soft {
		grace = min(p.MaxGrace, int64(pod.GracePeriod(v.Pod)/time.Second))
	}
	d.victim.evict(pod.Eviction{Reason: pod.ReasonEvicted, Message: v.Message, Disrupts: true, Grace: &grace})
	return victimCheck
}

// observations reads what is left of the node.
func (a *Agent) observations(ctx context.Context) (eviction.Observations, eviction.Disks, error) {
	f, err := a.o.Machine.Facts(ctx)
	if err != nil {
		return nil, eviction.Disks{}, err
	}
	obs := eviction.Observations{
		eviction.MemoryAvailable:  {Capacity: f.MemoryTotal, Available: f.MemoryAvailable},
		eviction.NodeFSAvailable:  {Capacity: f.DiskTotal, Available: f.DiskAvailable},
		eviction.ImageFSAvailable: {Capacity: f.DiskTotal, Available: f.DiskAvailable},
		eviction.PIDAvailable:     {Capacity: f.PIDMax, Available: f.PIDMax - f.PIDs},
	}
	inodes := func(s eviction.Signal, total, free int64) {
		// Some file systems have no number of inodes; they cannot run short.
		if total > 0 {
			obs[s] = eviction.Observation{Capacity: total, Available: free}
		}
	}
	inodes(eviction.NodeFSInodesFree, f.InodesTotal, f.InodesFree)
	inodes(eviction.ImageFSInodesFree, f.InodesTotal, f.InodesFree)
	var disks eviction.Disks
	if a.o.Disk != nil {
		fs, err := a.o.Disk.ImageDisk(ctx)
		if err != nil {
			return nil, disks, fmt.Errorf("the disk of the images: %w", err)
		}
		if disks.OwnImages = fs.Own; fs.Own {
			obs[eviction.ImageFSAvailable] = eviction.Observation{Capacity: fs.Capacity, Available: fs.Available}
			delete(obs, eviction.ImageFSInodesFree)
			inodes(eviction.ImageFSInodesFree, fs.Inodes, fs.InodesFree)
		}
	}
	if a.o.Bounds != nil {
		reserved := a.o.Pressure.Reserved[corev1.ResourceMemory]
		limit := max(f.MemoryTotal-reserved.Value(), 0)
		// Before the first pod there is no group to read, and nothing in use.
		if used, err := a.o.Bounds.PodsMemory(); err == nil {
			obs[eviction.PodsMemoryAvailable] = eviction.Observation{Capacity: limit, Available: max(limit-used, 0)}
		}
	}
	return obs, disks, nil
}

// reclaim removes what nobody needs and says whether that was enough.
func (a *Agent) reclaim(ctx context.Context) bool {
	if err := a.collectOnce(ctx); err != nil {
		a.log.Warn("not everything that belongs to no pod could be removed", zap.Error(err))
	}
	if a.o.ImageStore != nil {
		if _, err := a.freeImages(ctx, allBytes); err != nil {
			a.log.Warn("not all unused images could be removed", zap.Error(err))
		}
	}
	obs, _, err := a.observations(ctx)
	return err == nil && eviction.Relieved(a.o.Pressure.Thresholds, obs)
}

// candidates are the pods that the node runs, with what they use of what is
// short.
func (a *Agent) candidates(ctx context.Context, s eviction.Signal) []eviction.Candidate {
	var out []eviction.Candidate
	for _, w := range a.allWorkers() {
		p := w.snapshot()
		if !active(p) || w.isEvicted() {
			continue
		}
		c := eviction.Candidate{Pod: p}
		c.Use, c.Known = a.useOf(ctx, w, p, s)
		out = append(out, c)
	}
	return out
}

// useOf measures what the signal is about.
func (a *Agent) useOf(ctx context.Context, w *worker, p *corev1.Pod, s eviction.Signal) (use eviction.PodUse, known bool) {
	if s.Condition() == corev1.NodeDiskPressure {
		if a.o.Disk == nil {
			return use, false
		}
		use, err := a.diskUse(ctx, w, p, true)
		return use, err == nil
	}
	if a.o.Meter == nil || a.o.Bounds == nil {
		return use, false
	}
	var err error
	if use.Memory, use.Processes, err = a.o.Bounds.PodUse(p); err != nil {
		return use, false
	}
	_, attempts := w.running()
	for _, at := range attempts {
		// One that has just ended uses nothing any more.
		if c, err := a.o.Meter.ContainerUsage(p, at.ID); err == nil {
			use.Containers = append(use.Containers, eviction.ContainerUse{Name: at.Container, Memory: int64(c.Memory)})
		}
	}
	return use, true
}

// setPressure makes the conditions known to admission and to the Node.
func (a *Agent) setPressure(now []corev1.NodeConditionType) {
	a.mu.Lock()
	changed := !slices.Equal(a.pressure, now)
	a.pressure = now
	a.mu.Unlock()
	if changed {
		a.node.Poke()
	}
}

func (a *Agent) underPressure() []corev1.NodeConditionType {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pressure
}

// bound keeps all pods together within what is not reserved. It tells in an
// event of the Node how that went.
func (a *Agent) bound(f nodestatus.Facts) {
	reserved := a.o.Pressure.Reserved
	cpu, memory := reserved[corev1.ResourceCPU], reserved[corev1.ResourceMemory]
	pids := reserved[ResourcePIDs]
	r := pod.Resources{
		CPUShares:   pod.Shares(max(int64(f.CPUs)*1000-cpu.MilliValue(), 0)),
		MemoryLimit: max(f.MemoryTotal-memory.Value(), 0),
	}
	if !pids.IsZero() {
		r.PIDsLimit = max(f.PIDMax-pids.Value(), 1)
	}
	if err := a.o.Bounds.Bound(r); err != nil {
		a.log.Warn("the pods cannot be bounded", zap.Error(err))
		a.nodeEvent(corev1.EventTypeWarning, "FailedNodeAllocatableEnforcement",
			fmt.Sprintf("Failed to update Node Allocatable Limits %q: %v", a.o.Bounds.Name(), err))
		return
	}
	a.nodeEvent(corev1.EventTypeNormal, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
}

// ResourcePIDs can be reserved beside the resources of the API.
const ResourcePIDs corev1.ResourceName = "pid"

// nodeEvent records an event about the node. Its UID is the name, as clients
// look for it.
func (a *Agent) nodeEvent(kind, reason, message string) {
	ref := &corev1.ObjectReference{Kind: "Node", Name: a.o.NodeName, UID: types.UID(a.o.NodeName)}
	a.recorder.Event(ref, kind, reason, message)
}

// isEvicted says whether the node has ended the pod already.
func (w *worker) isEvicted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.eviction != nil
}
