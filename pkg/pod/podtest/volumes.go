package podtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// Volumes is a fake of pod.Volumes. It also tells which pods have something on
// the disk, as the agent asks.
type Volumes struct {
	// Faults script "Volumes.Prepare", ".Mounts", ".SetIPs" and ".Remove".
	Faults *Faults

	mu    sync.Mutex
	byUID map[types.UID][]string
}

// NewVolumes returns a fake without volumes.
func NewVolumes(f *Faults) *Volumes {
	return &Volumes{Faults: f, byUID: map[types.UID][]string{}}
}

// Prepare implements pod.Volumes.
func (v *Volumes) Prepare(ctx context.Context, p *corev1.Pod) error {
	return v.Faults.run(ctx, "Volumes.Prepare", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if _, ready := v.byUID[p.UID]; !ready {
			v.byUID[p.UID] = nil
		}
		return nil
	})
}

// Mounts implements pod.Volumes.
func (v *Volumes) Mounts(ctx context.Context, p *corev1.Pod, container string, _ int) (l []pod.Mount, err error) {
	err = v.Faults.run(ctx, "Volumes.Mounts", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if _, ready := v.byUID[p.UID]; !ready {
			return fmt.Errorf("volumes of %s are not prepared: %w", p.UID, pod.ErrNotFound)
		}
		dir := "/fake/pods/" + string(p.UID)
		if c, _ := pod.FindContainer(p, container); c != nil {
			for _, m := range c.VolumeMounts {
				l = append(l, pod.Mount{HostPath: dir + "/volumes/" + m.Name, ContainerPath: m.MountPath, ReadOnly: m.ReadOnly})
			}
		}
		l = append(l, pod.Mount{HostPath: dir + "/etc-hosts", ContainerPath: "/etc/hosts"})
		return nil
	})
	return l, err
}

// SetIPs implements pod.Volumes.
func (v *Volumes) SetIPs(ctx context.Context, p *corev1.Pod, ips []string) error {
	return v.Faults.run(ctx, "Volumes.SetIPs", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		if _, ready := v.byUID[p.UID]; !ready {
			return fmt.Errorf("volumes of %s: %w", p.UID, pod.ErrNotFound)
		}
		v.byUID[p.UID] = slices.Clone(ips)
		return nil
	})
}

// Remove implements pod.Volumes.
func (v *Volumes) Remove(ctx context.Context, uid types.UID) error {
	return v.Faults.run(ctx, "Volumes.Remove", func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.byUID, uid)
		return nil
	})
}

// Present says whether the pod has something on the disk.
func (v *Volumes) Present(uid types.UID) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.byUID[uid]
	return ok, nil
}

// List returns the pods that have.
func (v *Volumes) List() ([]types.UID, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Sorted(maps.Keys(v.byUID)), nil
}

// IPs returns what SetIPs wrote last.
func (v *Volumes) IPs(uid types.UID) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.byUID[uid])
}
