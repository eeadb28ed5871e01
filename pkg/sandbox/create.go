package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// Create makes the namespaces, mounts and cgroup of a pod. A sandbox that
// exists and is whole is returned as it is; anything less is removed first. On
// an error nothing is left, or what is left shows as stale.
func (m *Manager) Create(ctx context.Context, p *corev1.Pod) (*pod.Sandbox, error) {
	unlock, err := m.lock(ctx, p.UID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m.setMaking(p.UID, true)
	defer m.setMaking(p.UID, false)

	r, err := m.read(p.UID)
	if err == nil && r != nil && m.whole(r) {
		return m.view(r), nil
	}
	if r != nil || err != nil {
		if err := m.remove(ctx, p.UID); err != nil {
			return nil, fmt.Errorf("remove an earlier sandbox: %w", err)
		}
	}
	begin := time.Now()
	if r, err = m.plan(p); err != nil {
		return nil, err
	}
	if err := m.make(ctx, r, p); err != nil {
		undo, cancel := undoContext(ctx)
		defer cancel()
		if uerr := m.remove(undo, p.UID); uerr != nil {
			m.log.Warn("undo of a failed sandbox failed", m.podField(r), zap.Error(uerr))
		}
		return nil, err
	}
	m.log.Debug("sandbox created", m.podField(r), zap.String("uid", string(r.UID)), zap.Duration("took", time.Since(begin)))
	return m.view(r), nil
}

// plan is the record of a sandbox of which nothing is made yet.
func (m *Manager) plan(p *corev1.Pod) (*record, error) {
	name, err := m.opts.Hostname(p)
	if err != nil && !p.Spec.HostNetwork {
		return nil, err
	}
	return &record{
		UID: p.UID, Namespace: p.Namespace, Name: p.Name,
		BootID:    m.opts.BootID,
		CreatedAt: m.opts.Now(),
		State:     stateMaking,
		Hostname:  name,
		Cgroup:    cgroup.PodName(cgroup.QoS(m.opts.QOS(p)), string(p.UID)),

		HostNetwork: p.Spec.HostNetwork, HostIPC: p.Spec.HostIPC,
	}, nil
}

// make carries a planned record out.
func (m *Manager) make(ctx context.Context, r *record, p *corev1.Pod) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := m.dir(r.UID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make sandbox: %w", err)
	}
	if err := m.begin(r, p); err != nil {
		return err
	}
	_, made := tracing.Begin(ctx, "namespaces")
	pins, err := makeNamespaces(dir, r, pod.Sysctls(p))
	made(err)
	if err != nil {
		return err
	}
	r.Pins = pins
	if !r.HostIPC {
		if err := mountShm(dir, r.Users); err != nil {
			return err
		}
	}
	_, ensured := tracing.Begin(ctx, "pod cgroup")
	err = m.opts.Cgroups.EnsurePod(ctx, r.Cgroup, m.opts.Resources(p))
	if ensured(err); err != nil {
		return err
	}
	r.State = stateWhole
	return m.write(r)
}

// whole says whether a sandbox can serve: made in this boot, and all its parts
// are where the record says.
func (m *Manager) whole(r *record) bool {
	if r.State != stateWhole || r.BootID != m.opts.BootID {
		return false
	}
	dir := m.dir(r.UID)
	for _, name := range r.namespaces() {
		if id, ok := cni.NamespaceID(filepath.Join(dir, name)); !ok || id != r.Pins[name] {
			return false
		}
	}
	return r.HostIPC || shmMounted(dir)
}

// view is a record in the engine's terms.
func (m *Manager) view(r *record) *pod.Sandbox {
	dir := m.dir(r.UID)
	var ns pod.Namespaces
	if !r.HostNetwork {
		ns.Net, ns.UTS = filepath.Join(dir, netFile), filepath.Join(dir, utsFile)
	}
	shm := ""
	if !r.HostIPC {
		ns.IPC, shm = filepath.Join(dir, ipcFile), filepath.Join(dir, shmDir)
	}
	if r.Users.Mapped() {
		ns.User = filepath.Join(dir, userFile)
	}
	return &pod.Sandbox{
		Users:        r.Users,
		Level:        r.Level,
		Namespaces:   ns,
		ShmPath:      shm,
		CgroupParent: m.opts.Cgroups.ParentFor(r.Cgroup),
		Attached:     r.Network == networkAttached,
		IPs:          r.IPs,
		Stale:        !m.whole(r),
		CreatedAt:    r.CreatedAt,
	}
}

func (m *Manager) podField(r *record) zap.Field {
	return zap.String("pod", r.Namespace+"/"+r.Name)
}

// errNoSandbox is what Attach answers for a pod without a whole sandbox.
var errNoSandbox = errors.New("the pod has no usable sandbox")
