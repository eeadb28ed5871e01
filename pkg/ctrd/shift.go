package ctrd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/osthread"
	"github.com/carob-project/carob/pkg/pod"
)

// What a snapshotter says of itself: it maps the IDs of what it mounts; or it
// would, were the kernel able to, and its administrator wants nothing slower.
const (
	remapsIDs     = "remap-ids"
	onlyRemapsIDs = "only-remap-ids"
)

// prepareFor makes a snapshot on top of an image whose files belong to the users
// of a pod. One that is there already is an error that errdefs knows.
func (r *Runtime) prepareFor(ctx context.Context, img *imageInfo, key string, labels map[string]string, users pod.IDRange) ([]mount.Mount, error) {
	sn := r.client.SnapshotService(img.snapshotter)
	options := []snapshots.Opt{snapshots.WithLabels(labels)}
	if !users.Mapped() {
		return sn.Prepare(ctx, key, img.chainID, options...)
	}
	can, err := r.client.GetSnapshotterCapabilities(ctx, img.snapshotter)
	if err != nil {
		return nil, err
	}
	if slices.Contains(can, remapsIDs) {
		options = append(options, containerd.WithRemapperLabels(0, users.First, 0, users.First, users.Size))
		return sn.Prepare(ctx, key, img.chainID, options...)
	}
	if slices.Contains(can, onlyRemapsIDs) {
		return nil, fmt.Errorf("%w: containerd's snapshotter %s cannot map user IDs on this kernel: set its slow_chown, or run a kernel that can",
			pod.ErrConfig, img.snapshotter)
	}
	mounts, err := sn.Prepare(ctx, key, img.chainID, options...)
	if err != nil {
		return nil, err
	}
	return mounts, shift(ctx, mounts, users)
}

// shift gives every file of a snapshot to the users of a pod, which takes as
// long as copying them. It may be interrupted anywhere, and done again.
//
// It mounts the snapshot where nobody else sees it: the mount is gone with the
// thread, however this process ends.
func shift(ctx context.Context, mounts []mount.Mount, users pod.IDRange) error {
	// Any directory will do, and this one is always there.
	const place = "/dev"
	err := osthread.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := mount.All(mounts, place); err != nil {
			return err
		}
		err := filepath.WalkDir(place, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = give(path, users)
			}
			return err
		})
		return errors.Join(err, unix.Unmount(place, 0))
	})
	if err != nil {
		return fmt.Errorf("giving the files of the image to the users of the pod: %w", err)
	}
	return nil
}

// give changes the owner of one file and keeps what the kernel takes away with
// that: the bits that change users and groups, and its capabilities.
func give(path string, users pod.IDRange) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	uid, gid := users.Outside(st.Uid), users.Outside(st.Gid)
	if uid == st.Uid && gid == st.Gid {
		return nil
	}
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	var capability []byte
	if regular {
		var err error
		if capability, err = fileCapability(path, users); err != nil {
			return err
		}
	}
	if err := unix.Lchown(path, int(uid), int(gid)); err != nil {
		return &fs.PathError{Op: "lchown", Path: path, Err: err}
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	if capability == nil {
		return nil
	}
	if err := unix.Lsetxattr(path, capabilityAttribute, capability, 0); err != nil {
		return &fs.PathError{Op: "setxattr", Path: path, Err: err}
	}
	return nil
}

const capabilityAttribute = "security.capability"

// fileCapability returns the capabilities of a file in the form that holds for
// root of the pod; nil where it has none.
func fileCapability(path string, users pod.IDRange) ([]byte, error) {
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(path, capabilityAttribute, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "getxattr", Path: path, Err: err}
	}
	return ownedCapability(buf[:n], users.First), nil
}

// ownedCapability turns a value of the kernel's second format, which holds for
// root of the machine, into one of the third, which names its root.
func ownedCapability(value []byte, root uint32) []byte {
	const (
		revision2, revision3 = 2 << 24, 3 << 24
		mask                 = 0xff << 24
		size                 = 20
	)
	if len(value) != size || binary.LittleEndian.Uint32(value)&mask != revision2 {
		return value
	}
	out := bytes.Clone(value)
	binary.LittleEndian.PutUint32(out, binary.LittleEndian.Uint32(value)&^uint32(mask)|revision3)
	return binary.LittleEndian.AppendUint32(out, root)
}
