package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Mounts implements pod.Volumes. Of mounts inside each other the outer one
// stands first, whatever the order of volumeMounts; else that order is kept.
func (m *Manager) Mounts(ctx context.Context, p *corev1.Pod, container string, attempt int) ([]pod.Mount, error) {
	l, err := m.layout(p.UID)
	if err != nil {
		return nil, err
	}
	c := findContainer(p, container)
	if c == nil || !component(container) {
		return nil, fmt.Errorf("the pod has no container %q", container)
	}
	defer m.locks.lock(p.UID)()
	var mounts []pod.Mount
	taken := map[string]bool{}
	for i := range c.VolumeMounts {
		mount, err := m.volumeMount(ctx, p, c, i, l)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, mount)
		taken[path.Clean(mount.ContainerPath)] = true
	}
	for _, f := range [][2]string{
		{l.hosts(), "/etc/hosts"}, {l.resolvConf(), "/etc/resolv.conf"}, {l.hostname(), "/etc/hostname"},
	} {
		if !taken[f[1]] {
			mounts = append(mounts, pod.Mount{HostPath: f[0], ContainerPath: f[1], Relabel: true})
		}
	}
	file, err := terminationFile(l, container, attempt)
	if err != nil {
		return nil, fmt.Errorf("making the file for the termination message: %w", err)
	}
	where := c.TerminationMessagePath
	if where == "" {
		where = corev1.TerminationMessagePathDefault
	}
	mounts = append(mounts, pod.Mount{HostPath: file, ContainerPath: where, Relabel: true})
	slices.SortStableFunc(mounts, func(a, b pod.Mount) int { return depth(a) - depth(b) })
	return mounts, nil
}

// depth is the number of directories above a mount's place.
func depth(m pod.Mount) int { return strings.Count(path.Clean("/"+m.ContainerPath), "/") }

// volumeMount returns mount number i of a container and makes its subPath.
func (m *Manager) volumeMount(ctx context.Context, p *corev1.Pod, c *corev1.Container, i int, l layout) (pod.Mount, error) {
	vm := &c.VolumeMounts[i]
	v := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == vm.Name })
	if v < 0 || !component(vm.Name) {
		return pod.Mount{}, invalid("cannot find volume %q to mount into container %q", vm.Name, c.Name)
	}
	vol := &p.Spec.Volumes[v]
	mount := pod.Mount{
		HostPath: l.volume(vm.Name), ContainerPath: vm.MountPath, ReadOnly: vm.ReadOnly, Recursive: true, Relabel: true,
		RecursiveReadOnly: or(vm.RecursiveReadOnly, "") == corev1.RecursiveReadOnlyEnabled,
	}
	if mode := or(vm.MountPropagation, corev1.MountPropagationNone); mode != corev1.MountPropagationNone {
		mount.Propagation = mode
	}
	switch {
	case vol.Image != nil:
		var err error
		mount.ReadOnly = true
		mount.Mapped = true
		mount.Relabel = false // all of it has one label for all readers
		mount.HostPath, err = m.imageMount(ctx, p, vol.Image.Reference, vm.SubPath, l)
		return mount, err
	case vol.HostPath != nil:
		mount.HostPath = vol.HostPath.Path
		mount.Relabel = false // it is the node's
		if _, err := os.Stat(mount.HostPath); errors.Is(err, fs.ErrNotExist) && or(vol.HostPath.Type, "") == "" {
			if err := makeHostDir(mount.HostPath); err != nil {
				return pod.Mount{}, fmt.Errorf("making the hostPath of volume %q: %w", vm.Name, err)
			}
		}
	case vol.PersistentVolumeClaim != nil, vol.Ephemeral != nil:
		path, err := claimPath(vm.Name, l)
		if err != nil {
			return pod.Mount{}, err
		}
		mount.HostPath = path
		// What no container of the pod may write to may be others' too.
		mount.Relabel = vol.PersistentVolumeClaim == nil || !vol.PersistentVolumeClaim.ReadOnly
		mount.ReadOnly = mount.ReadOnly || !mount.Relabel
	case vol.EmptyDir == nil:
		// What comes from the API is not the container's to change.
		mount.ReadOnly = true
		if vol.ConfigMap == nil {
			mount.HostPath = m.memory.volume(p.UID, vm.Name)
		}
	}
	if vm.SubPath == "" {
		return mount, nil
	}
	target := l.subPath(c.Name, i)
	if err := bindSubPath(mount.HostPath, vm.SubPath, target, mount.Propagation != ""); err != nil {
		return pod.Mount{}, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
	}
	mount.HostPath = target
	return mount, nil
}
