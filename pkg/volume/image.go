package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// imageMount returns where an image, or a directory in it, is mounted. Nothing
// is made in it: a subPath has to be a directory of the image.
func (m *Manager) imageMount(ctx context.Context, p *corev1.Pod, ref, sub string, l layout) (string, error) {
	if err := os.MkdirAll(l.images(), 0o700); err != nil {
		return "", written(err)
	}
	users, err := m.users(p)
	if err != nil {
		return "", err
	}
	root, err := m.opts.Images.MountImage(ctx, p.UID, ref, l.images(), users)
	if err != nil {
		return "", fmt.Errorf("failed to mount image volume: ImageVolumeMountFailed: %w", err)
	}
	if sub == "" {
		return root, nil
	}
	path, err := imageSubPath(root, sub)
	if err != nil {
		return "", fmt.Errorf("failed to mount image volume: ImageVolumeMountFailed: failed to ensure image subpath %q in %q: %w", sub, root, err)
	}
	return path, nil
}

// users are the IDs of the pod's user namespace.
func (m *Manager) users(p *corev1.Pod) (pod.IDRange, error) {
	if !pod.OwnUsers(&p.Spec) || m.opts.Users == nil {
		return pod.IDRange{}, nil
	}
	return m.opts.Users(p.UID)
}

// imageSubPath returns the path of a directory of an image. The image does not
// change, so no link in the path will lead elsewhere later.
func imageSubPath(root, sub string) (string, error) {
	fd, err := openBeneath(root, sub)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return "", fmt.Errorf("path escapes from parent: %w", err)
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }() // only a place, opened with O_PATH
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return "", fmt.Errorf("only directory subpath is supported, subpath: %q, mountpoint: %q ", sub, root)
	}
	return os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// removeImages takes away what shows images, before the directory that tells of
// them goes.
func (m *Manager) removeImages(ctx context.Context, uid types.UID, dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) || m.opts.Images == nil {
		return nil
	}
	if err := unmountBelow(dir); err != nil {
		return err
	}
	return m.opts.Images.RemoveImages(ctx, uid)
}
