package agent_test

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

// sandboxes, volumes and logs are views of the world, as their methods' names
// collide.
type sandboxes struct{ *world }

func (s sandboxes) Create(ctx context.Context, p *corev1.Pod) (*pod.Sandbox, error) {
	var out *pod.Sandbox
	err := s.do(ctx, "sandbox", false, func() error {
		if s.sandbox[p.UID] == nil {
			s.sandbox[p.UID] = &pod.Sandbox{CreatedAt: time.Now()}
		}
		out = s.sandbox[p.UID]
		return nil
	})
	return out, err
}

func (s sandboxes) Attach(ctx context.Context, p *corev1.Pod) ([]string, error) {
	var ips []string
	err := s.do(ctx, "attach", false, func() error {
		sb := s.sandbox[p.UID]
		if sb == nil {
			return pod.ErrNotFound
		}
		if !sb.Attached {
			next := *sb
			next.Attached, next.IPs = true, []string{fmt.Sprintf("10.0.0.%d", s.nextIP)}
			s.nextIP++
			s.sandbox[p.UID] = &next
		}
		ips = s.sandbox[p.UID].IPs
		return nil
	})
	return ips, err
}

func (s sandboxes) Detach(ctx context.Context, uid types.UID) error {
	return s.do(ctx, "detach", false, func() error {
		if sb := s.sandbox[uid]; sb != nil {
			next := *sb
			next.Attached, next.IPs = false, nil
			s.sandbox[uid] = &next
		}
		return nil
	})
}

func (s sandboxes) Remove(ctx context.Context, uid types.UID) error {
	return s.do(ctx, "remove sandbox", false, func() error { delete(s.sandbox, uid); return nil })
}

func (s sandboxes) Get(uid types.UID) (*pod.Sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sandbox[uid], nil
}

func (s sandboxes) List() ([]types.UID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.UID
	for uid := range s.sandbox {
		out = append(out, uid)
	}
	return out, nil
}

func (s sandboxes) GC(_ context.Context, wanted func(types.UID) bool) error {
	for _, uid := range []types.UID{"wanted", "unwanted"} {
		keep := wanted(uid)
		s.mu.Lock()
		s.kept[uid] = keep
		s.mu.Unlock()
	}
	return nil
}

type volumes struct{ *world }

func (v volumes) Prepare(ctx context.Context, p *corev1.Pod) error {
	return v.do(ctx, "prepare", false, func() error { v.volumes[p.UID] = true; return nil })
}

func (v volumes) Mounts(_ context.Context, p *corev1.Pod, _ string, _ int) ([]pod.Mount, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.volumes[p.UID] {
		return nil, pod.ErrConfig
	}
	return nil, nil
}

func (v volumes) SetIPs(ctx context.Context, p *corev1.Pod, ips []string) error {
	return v.do(ctx, "set ips", false, func() error {
		if !v.volumes[p.UID] {
			return pod.ErrNotFound
		}
		v.hosts[p.UID] = ips
		return nil
	})
}

func (v volumes) Remove(ctx context.Context, uid types.UID) error {
	return v.do(ctx, "remove volumes", false, func() error {
		delete(v.volumes, uid)
		delete(v.hosts, uid)
		return nil
	})
}

func (v volumes) Present(uid types.UID) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.volumes[uid], nil
}

func (v volumes) List() ([]types.UID, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []types.UID
	for uid := range v.volumes {
		out = append(out, uid)
	}
	return out, nil
}

func (v volumes) VolumeUse(_ context.Context, p *corev1.Pod) (map[string]eviction.Disk, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]eviction.Disk{}
	for i := range p.Spec.Volumes {
		name := p.Spec.Volumes[i].Name
		out[name] = eviction.Disk{Bytes: v.usage[name], Inodes: 1}
	}
	return out, nil
}

func (v volumes) LogUse(_ context.Context, _ *corev1.Pod, container string) (eviction.Disk, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return eviction.Disk{Bytes: v.usage["logs "+container], Inodes: 1}, nil
}

func (v volumes) LayerUse(_ context.Context, id string) (eviction.Disk, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.attempts[id] == nil {
		return eviction.Disk{}, pod.ErrNotFound
	}
	return eviction.Disk{Bytes: v.usage["layer "+v.attempts[id].Container], Inodes: 1}, nil
}

func (v volumes) ImageDisk(context.Context) (eviction.FileSystem, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return eviction.FileSystem{Capacity: 100 << 20, Available: v.usage["disk left"], Inodes: 1000, InodesFree: 900}, nil
}

func (v volumes) TerminationMessage(_ context.Context, k agent.LogKey) (string, error) {
	return fmt.Sprintf("bye from %s %d", k.Container, k.Number), nil
}

type logs struct{ *world }

func (l logs) Open(_ context.Context, k agent.LogKey) (string, string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls["open log"]++
	l.copying[k] = true
	return "out", "err", nil
}

func (l logs) Finish(_ context.Context, k agent.LogKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.copying, k)
	return nil
}

func (l logs) Remove(context.Context, agent.LogKey) error { return nil }

func (l logs) Drop(_ context.Context, uid types.UID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.copying {
		if k.Pod.UID == uid {
			delete(l.copying, k)
		}
	}
	return nil
}

func (l logs) ReadLog(context.Context, pod.Ref, string, int, *corev1.PodLogOptions, io.Writer) error {
	return nil
}

type machine struct{ *world }

func (m machine) Facts(context.Context) (nodestatus.Facts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	memory := int64(7 << 30)
	for _, a := range m.attempts {
		if a.State == pod.AttemptRunning {
			memory -= m.usage["memory "+a.Container]
		}
	}
	return nodestatus.Facts{
		CPUs: 4, MemoryTotal: 8 << 30, MemoryAvailable: memory, DiskTotal: 100 << 30, DiskAvailable: 90 << 30,
		PIDMax: 30000, PIDs: 100, Hostname: "host",
	}, nil
}
