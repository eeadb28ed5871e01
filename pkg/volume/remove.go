package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Remove implements pod.Volumes. It works in two phases: the directory gets
// another name at once, so that nothing half removed is ever taken for a whole
// pod, and goes away under that name. Interrupted, it is completed by the next
// call; UIDs tells that there is something left. What a hostPath volume names is
// never touched: links are not followed, and nothing is removed beyond a mount.
func (m *Manager) Remove(ctx context.Context, uid types.UID) error {
	l, err := m.layout(uid)
	if err != nil {
		return err
	}
	defer m.locks.lock(uid)()
	m.tokens.forget(uid)
	if err := m.removeImages(ctx, uid, l.images()); err != nil {
		return fmt.Errorf("removing the images of pod %s: %w", uid, err)
	}
	if err := m.memory.remove(uid); err != nil {
		return fmt.Errorf("removing what pod %s has in memory: %w", uid, err)
	}
	gone := m.removing(uid)
	for range 2 {
		if err := removeDir(ctx, gone); err != nil {
			return fmt.Errorf("removing what is left of pod %s: %w", uid, err)
		}
		err := os.Rename(l.dir, gone)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("removing the volumes of pod %s: %w", uid, err)
		}
	}
	return fmt.Errorf("removing the volumes of pod %s: its directory was made anew meanwhile", uid)
}

// removeDir unmounts and removes a directory. One that is not there is no error.
func removeDir(ctx context.Context, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return removeTree(ctx, dir)
}

// unmountBelow unmounts everything below dir, the deepest and latest first.
func unmountBelow(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("listing mounts: %w", err)
	}
	// A mount comes after the one it is on top of.
	slices.Reverse(mounts)
	slices.SortStableFunc(mounts, func(a, b *mountinfo.Info) int {
		return cmp.Compare(len(b.Mountpoint), len(a.Mountpoint))
	})
	for _, mnt := range mounts {
		if err := unmount(mnt.Mountpoint); err != nil {
			return err
		}
	}
	return nil
}

// unmount takes a mount away, and if it is still in use, at least from sight.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	return nil // EINVAL: it was none
}
