package ctrd

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// The kernel's names of how mounts propagate, recursively.
const (
	rPrivate = "rprivate"
	rSlave   = "rslave"
	rShared  = "rshared"
)

// propagation is how what is mounted below a bind mount later is handed on.
func propagation(m pod.Mount) string {
	switch m.Propagation {
	case corev1.MountPropagationBidirectional:
		return rShared
	case corev1.MountPropagationHostToContainer:
		return rSlave
	default:
		return rPrivate
	}
}

// rootPropagation is what the root of the container's mount namespace needs for
// its mounts to propagate as they should; empty: the runtime's default will do.
func rootPropagation(mounts []pod.Mount) string {
	root := ""
	for _, m := range mounts {
		switch propagation(m) {
		case rShared:
			return rShared
		case rSlave:
			root = rSlave
		}
	}
	return root
}

// checkPropagation finds out whether what a mount is to hand on can come from
// where it is on the node. The words are those of containerd.
func checkPropagation(m pod.Mount) error {
	if m.Propagation == "" {
		return nil
	}
	real, err := filepath.EvalSymlinks(m.HostPath)
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(real))
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	return onSharedMount(real, mounts, propagation(m))
}

// onSharedMount judges by the innermost of the mounts that a path is on.
func onSharedMount(path string, mounts []*mountinfo.Info, want string) error {
	on := &mountinfo.Info{}
	for _, m := range mounts {
		if len(m.Mountpoint) >= len(on.Mountpoint) {
			on = m
		}
	}
	kind := "shared"
	for option := range strings.FieldsSeq(on.Optional) {
		if strings.HasPrefix(option, "shared:") || want == rSlave && strings.HasPrefix(option, "master:") {
			return nil
		}
	}
	if want == rSlave {
		kind = "shared or slave"
	}
	return fmt.Errorf("path %q is mounted on %q but it is not a %s mount", path, on.Mountpoint, kind)
}
