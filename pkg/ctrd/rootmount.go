package ctrd

import (
	"errors"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// hideRoot takes the mount of a running container's root file system out of the
// machine's list of mounts. The container has its own, and containerd removes it
// with the task only if it is there; but the OCI runtime reads that whole list
// several times in each of its runs, and systemd at every change of it. With
// hundreds of pods that list is most of what a start costs.
//
// Only where containerd is carob's own: its directories are then known, and
// nobody else looks there.
func (r *Runtime) hideRoot(id string) {
	if r.opts.StateDir == "" {
		return
	}
	root := filepath.Join(r.opts.StateDir, bundlesDir, r.opts.Namespace, id, "rootfs")
	err := unix.Unmount(root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		// It costs time, no more.
		r.log.Debug("a container's root file system stays mounted", zap.String("id", id), zap.Error(err))
	}
}

// hideRoots does it for many, of which most are hidden already.
func (r *Runtime) hideRoots(ids []string) {
	for _, id := range ids {
		if r.life.Err() != nil {
			return
		}
		r.hideRoot(id)
	}
}
