package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Features are what a runtime can do on this machine and not every one can.
type Features struct {
	// RecursiveReadOnly: a mount and all mounts below it can be read-only.
	RecursiveReadOnly bool
	// UserNamespaces: a pod can have a user namespace of its own, and mounts
	// that show the IDs of files as they are there.
	UserNamespaces bool
}

// WithReadOnly returns the pod with the recursiveReadOnly of every mount of one
// container set to Enabled or Disabled, as the runtime can have it; without
// such mounts it returns p itself. What the runtime cannot do is an error that
// wraps ErrConfig, in the words of Kubernetes.
func WithReadOnly(p *corev1.Pod, container string, f Features) (*corev1.Pod, error) {
	c, _ := FindContainer(p, container)
	if c == nil || !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.RecursiveReadOnly != nil }) {
		return p, nil
	}
	p = p.DeepCopy()
	c, _ = FindContainer(p, container)
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		recursive, err := recursiveReadOnly(m, f)
		if err != nil {
			return nil, configErrorf("failed to resolve recursive read-only mode: %v", err)
		}
		mode := corev1.RecursiveReadOnlyDisabled
		if recursive {
			mode = corev1.RecursiveReadOnlyEnabled
		}
		m.RecursiveReadOnly = &mode
	}
	return p, nil
}

// recursiveReadOnly says whether the mounts below a mount are read-only, too.
func recursiveReadOnly(m *corev1.VolumeMount, f Features) (bool, error) {
	mode := m.RecursiveReadOnly
	switch {
	case mode == nil || *mode == corev1.RecursiveReadOnlyDisabled:
		return false, nil
	case !m.ReadOnly:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not read-only", m.Name)
	case m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not compatible with propagation %q",
			m.Name, *m.MountPropagation)
	case *mode == corev1.RecursiveReadOnlyIfPossible:
		return f.RecursiveReadOnly, nil
	case *mode != corev1.RecursiveReadOnlyEnabled:
		return false, fmt.Errorf("unknown recursive read-only mode %q", *mode)
	case !f.RecursiveReadOnly:
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
	}
	return true, nil
}

// mountStatuses tells how the volumes of a container are mounted.
func mountStatuses(c *corev1.Container, f Features) []corev1.VolumeMountStatus {
	if len(c.VolumeMounts) == 0 {
		return nil
	}
	l := make([]corev1.VolumeMountStatus, 0, len(c.VolumeMounts))
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if recursive, err := recursiveReadOnly(m, f); err == nil && recursive {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		l = append(l, s)
	}
	return l
}

// Propagates says whether mounts below a mount of the pod's volume are handed
// on between the node and a container.
func Propagates(p *corev1.Pod, volume string) bool {
	for c := range AllContainers(p) {
		if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == volume && m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone
		}) {
			return true
		}
	}
	return false
}
