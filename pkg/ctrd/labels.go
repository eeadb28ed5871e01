package ctrd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/mount"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/selinux"
)

// seLabels are the SELinux labels of an attempt; empty ones: none.
type seLabels struct {
	process, files selinux.Label
}

// nodeContexts are the labels that the node's policy has for containers; nil
// where there is no SELinux, or none.
func nodeContexts() (*selinux.Contexts, error) {
	if !selinux.Enabled() {
		return nil, nil
	}
	c, err := selinux.NodeContexts()
	if err != nil {
		return nil, fmt.Errorf("containers run without SELinux labels: %w", err)
	}
	return &c, nil
}

// Sensitivity is that of the SELinux levels of this node's containers; empty
// where they have none.
func Sensitivity() string {
	c, err := nodeContexts()
	if err != nil || c == nil {
		return ""
	}
	return selinux.Sensitivity(c.Process.Level)
}

// labelsFor returns the labels of an attempt. A privileged one's files have a
// label as all others' have, but its process keeps that of the runtime.
func labelsFor(policy *selinux.Contexts, sec *pod.Security, level string) (seLabels, error) {
	if policy == nil {
		return seLabels{}, nil
	}
	process, files, err := policy.For(labelOf(sec.SELinux), level)
	if err != nil {
		return seLabels{}, err
	}
	if sec.Privileged {
		process = selinux.Label{}
	}
	return seLabels{process, files}, nil
}

func labelOf(o corev1.SELinuxOptions) selinux.Label {
	return selinux.Label{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// knownLabels is labelsFor of this node, whose kernel has to know them.
func (r *Runtime) knownLabels(req *pod.CreateRequest) (seLabels, error) {
	l, err := labelsFor(r.host.contexts, &req.Security, req.Sandbox.Level)
	if err != nil {
		return seLabels{}, err
	}
	for _, one := range []selinux.Label{l.process, l.files} {
		if one == (selinux.Label{}) {
			continue
		}
		if err := selinux.Known(one); err != nil {
			return seLabels{}, err
		}
	}
	return l, nil
}

// relabel gives what an attempt mounts of its pod's own its label, as in
// Kubernetes: of containers with different labels the last one has its way.
func relabel(ctx context.Context, req *pod.CreateRequest, l selinux.Label) error {
	if l == (selinux.Label{}) {
		return nil
	}
	var paths []string
	if req.Sandbox.ShmPath != "" {
		paths = append(paths, req.Sandbox.ShmPath)
	}
	for _, m := range req.Mounts {
		if m.Relabel {
			paths = append(paths, m.HostPath)
		}
	}
	var errs []error
	for _, path := range paths {
		errs = append(errs, selinux.Relabel(ctx, path, l))
	}
	return errors.Join(errs...)
}

// labelled has all that the mounts show labelled: as a whole where they make a
// file system, file by file where they show a directory.
func labelled(ctx context.Context, mounts []mount.Mount, l selinux.Label) ([]mount.Mount, error) {
	if l == (selinux.Label{}) {
		return mounts, nil
	}
	out := slices.Clone(mounts)
	for i := range out {
		m := &out[i]
		if isBind(m) {
			if err := selinux.Relabel(ctx, m.Source, l); err != nil {
				return nil, err
			}
			continue
		}
		m.Options = append(slices.Clone(m.Options), l.MountOption())
	}
	return out, nil
}

func isBind(m *mount.Mount) bool {
	return m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")
}

// tellContexts returns the node's labels, and says once where it has none that
// could be used.
func tellContexts(log *zap.Logger) *selinux.Contexts {
	c, err := nodeContexts()
	if err != nil {
		log.Warn("SELinux", zap.Error(err))
	}
	return c
}
