package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Excess is an emptyDir volume that takes more than its sizeLimit.
type Excess struct {
	Volume string
	// Used and Limit in bytes.
	Used, Limit int64
	// Message is what the status of the evicted pod says.
	Message string
}

// Exceeded returns the emptyDir volumes on disk that take more than their
// sizeLimit, for which Kubernetes evicts the pod. Those in memory cannot: their
// file system is that small. It reads all directories of such volumes.
func (m *Manager) Exceeded(ctx context.Context, p *corev1.Pod) ([]Excess, error) {
	l, err := m.layout(p.UID)
	if err != nil {
		return nil, err
	}
	var over []Excess
	for _, v := range p.Spec.Volumes {
		s := v.EmptyDir
		if s == nil || s.Medium != corev1.StorageMediumDefault || s.SizeLimit == nil || s.SizeLimit.IsZero() || !component(v.Name) {
			continue
		}
		used, err := usage(ctx, l.volume(v.Name))
		if err != nil {
			return nil, fmt.Errorf("measuring volume %q: %w", v.Name, err)
		}
		if limit := s.SizeLimit.Value(); used > limit {
			over = append(over, Excess{
				Volume: v.Name, Used: used, Limit: limit,
				Message: fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q.", v.Name, s.SizeLimit.String()),
			})
		}
	}
	return over, nil
}

// usage returns the bytes that a directory takes on the disk, each file once.
// What disappears meanwhile does not count; links and mounts are not followed.
func usage(ctx context.Context, path string) (int64, error) {
	dir, err := openDirAt(unix.AT_FDCWD, path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	u := usageCount{ctx: ctx, seen: map[uint64]struct{}{}}
	err = u.dir(dir, 0)
	_ = dir.Close() // it was only read
	return u.bytes, err
}

// maxMeasured is how deep directories are measured; each level is held open.
const maxMeasured = 500

type usageCount struct {
	ctx   context.Context
	bytes int64
	// seen are the inodes with several names.
	seen map[uint64]struct{}
}

func (u *usageCount) dir(dir *os.File, depth int) error {
	for {
		entries, err := dir.ReadDir(256)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.ctx.Err(); err != nil {
			return err
		}
		for _, e := range entries {
			if err := u.entry(dir, e, depth); err != nil {
				return err
			}
		}
	}
}

func (u *usageCount) entry(dir *os.File, e fs.DirEntry, depth int) error {
	fd := int(dir.Fd())
	var st unix.Stat_t
	err := unix.Fstatat(fd, e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: e.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if st.Nlink > 1 {
			if _, ok := u.seen[st.Ino]; ok {
				return nil
			}
			u.seen[st.Ino] = struct{}{}
		}
		u.bytes += st.Blocks * 512
		return nil
	}
	u.bytes += st.Blocks * 512
	if depth >= maxMeasured {
		return fmt.Errorf("its directories are nested more than %d deep", maxMeasured)
	}
	sub, err := openDirAt(fd, e.Name())
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	err = u.dir(sub, depth+1)
	_ = sub.Close() // it was only read
	return err
}
