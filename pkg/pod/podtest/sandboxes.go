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

// Sandboxes is a fake of pod.Sandboxes and pod.SandboxView.
type Sandboxes struct {
	// Faults script "Sandboxes.Create", ".Attach", ".Detach", ".Remove",
	// and "SandboxView.Get" and ".List".
	Faults *Faults

	clock  pod.Clock
	mu     sync.Mutex
	byUID  map[types.UID]*pod.Sandbox
	lastIP int
}

// NewSandboxes returns a fake without sandboxes.
func NewSandboxes(clock pod.Clock, f *Faults) *Sandboxes {
	return &Sandboxes{Faults: f, clock: clock, byUID: map[types.UID]*pod.Sandbox{}, lastIP: 1}
}

// Create implements pod.Sandboxes.
func (s *Sandboxes) Create(ctx context.Context, p *corev1.Pod) (out *pod.Sandbox, err error) {
	err = s.Faults.run(ctx, "Sandboxes.Create", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if have := s.byUID[p.UID]; have != nil && have.Stale {
			return fmt.Errorf("the sandbox of %s is stale and still there", p.UID)
		} else if have == nil {
			dir := "/fake/sandboxes/" + string(p.UID)
			s.byUID[p.UID] = &pod.Sandbox{
				Namespaces:   pod.Namespaces{Net: dir + "/net", IPC: dir + "/ipc", UTS: dir + "/uts"},
				ShmPath:      dir + "/shm",
				CgroupParent: "/fake/" + pod.CgroupName(p),
				CreatedAt:    s.clock(),
			}
		}
		out = clone(s.byUID[p.UID])
		return nil
	})
	return out, err
}

func clone(s *pod.Sandbox) *pod.Sandbox {
	c := *s
	c.IPs = slices.Clone(s.IPs)
	return &c
}

// Attach implements pod.Sandboxes.
func (s *Sandboxes) Attach(ctx context.Context, p *corev1.Pod) (ips []string, err error) {
	err = s.Faults.run(ctx, "Sandboxes.Attach", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		sb := s.byUID[p.UID]
		if sb == nil {
			return fmt.Errorf("sandbox of %s: %w", p.UID, pod.ErrNotFound)
		}
		if !sb.Attached {
			s.lastIP++
			sb.Attached, sb.IPs = true, []string{fmt.Sprintf("10.0.%d.%d", s.lastIP/250, s.lastIP%250+1)}
		}
		ips = slices.Clone(sb.IPs)
		return nil
	})
	return ips, err
}

// Detach implements pod.Sandboxes.
func (s *Sandboxes) Detach(ctx context.Context, uid types.UID) error {
	return s.Faults.run(ctx, "Sandboxes.Detach", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sb := s.byUID[uid]; sb != nil {
			sb.Attached, sb.IPs = false, nil
		}
		return nil
	})
}

// Remove implements pod.Sandboxes.
func (s *Sandboxes) Remove(ctx context.Context, uid types.UID) error {
	return s.Faults.run(ctx, "Sandboxes.Remove", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.byUID, uid)
		return nil
	})
}

// Get implements pod.SandboxView.
func (s *Sandboxes) Get(uid types.UID) (out *pod.Sandbox, err error) {
	err = s.Faults.run(context.Background(), "SandboxView.Get", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sb := s.byUID[uid]; sb != nil {
			out = clone(sb)
		}
		return nil
	})
	return out, err
}

// List implements pod.SandboxView.
func (s *Sandboxes) List() (l []types.UID, err error) {
	err = s.Faults.run(context.Background(), "SandboxView.List", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		l = slices.Sorted(maps.Keys(s.byUID))
		return nil
	})
	return l, err
}

// Reboot makes every sandbox stale.
func (s *Sandboxes) Reboot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sb := range s.byUID {
		sb.Stale = true
	}
}
