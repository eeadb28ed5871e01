package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/podlog"
)

// Usage is room on the disk.
type Usage struct {
	Bytes, Inodes int64
}

// Usage returns what the named volumes of the pod, which lie on the disk, take
// there, and its logs, by container. It reads all their directories.
func (m *Manager) Usage(ctx context.Context, uid types.UID, volumes []string) (map[string]Usage, error) {
	l, err := m.layout(uid)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Usage, len(volumes))
	for _, name := range volumes {
		if !component(name) {
			continue
		}
		if out[name], err = usage(ctx, l.volume(name)); err != nil {
			return nil, fmt.Errorf("measuring volume %q: %w", name, err)
		}
	}
	return out, nil
}

// LogUsage returns what the logs of a container take.
func (m *Manager) LogUsage(ctx context.Context, uid types.UID, container string) (Usage, error) {
	l, err := m.layout(uid)
	if err != nil || !component(container) {
		return Usage{}, err
	}
	u, err := usage(ctx, filepath.Dir(podlog.Path(l.dir, container, 0)))
	if err != nil {
		return u, fmt.Errorf("measuring the logs of %s: %w", container, err)
	}
	return u, nil
}

// usage returns what a directory takes on the disk, each file once.
// What disappears meanwhile does not count; links and mounts are not followed.
func usage(ctx context.Context, path string) (Usage, error) {
	dir, err := openDirAt(unix.AT_FDCWD, path)
	if errors.Is(err, fs.ErrNotExist) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, err
	}
	u := usageCount{ctx: ctx, seen: map[uint64]struct{}{}}
	err = u.dir(dir, 0)
	_ = dir.Close() // it was only read
	return u.Usage, err
}

// maxMeasured is how deep directories are measured; each level is held open.
const maxMeasured = 500

type usageCount struct {
	Usage
	ctx context.Context
	// seen are the inodes with several names.
	seen map[uint64]struct{}
}

func (u *usageCount) count(st *unix.Stat_t) {
	u.Bytes += st.Blocks * 512
	u.Inodes++
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
		u.count(&st)
		return nil
	}
	u.count(&st)
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
