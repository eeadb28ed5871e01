package selinux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// attribute is where a file system keeps the label of a file.
const attribute = "security.selinux"

// maxDepth is how deep directories are labelled; each level is held open.
const maxDepth = 500

// Relabel labels a file, or a directory and all that is in it. Containers may
// change it meanwhile: no link is followed but in path itself, other mounts are
// left alone, and what disappears is not missed. A file system without labels
// of its own is left as it is.
func Relabel(ctx context.Context, path string, l Label) error {
	return walk(ctx, path, func(fd int) error { return setLabel(fd, l.String()) })
}

// walk calls f for a file, or for all that a directory holds and then for the
// directory. The files are open as places only.
func walk(ctx context.Context, path string, f func(fd int) error) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		w := walker{ctx: ctx, visit: f}
		err = w.file(fd, 0)
		_ = unix.Close(fd) // only a place
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("label %s: %w", path, err)
	}
	return nil
}

type walker struct {
	ctx   context.Context
	visit func(fd int) error
}

// file visits what fd stands for. A directory comes after what it holds: one
// that has the label says that all below it has.
func (w *walker) file(fd, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if depth >= maxDepth {
			return fmt.Errorf("its directories are nested more than %d deep", maxDepth)
		}
		if err := w.directory(fd, depth); err != nil {
			return err
		}
	}
	return w.visit(fd)
}

// directory visits what is in a directory.
func (w *walker) directory(place, depth int) error {
	fd, err := unix.Openat(place, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), ".")
	defer func() { _ = dir.Close() }() // it was only read
	for {
		names, err := dir.Readdirnames(256)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
		for _, name := range names {
			if err := w.entry(fd, name, depth); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
}

func (w *walker) entry(dir int, name string, depth int) error {
	fd, err := openPlace(dir, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EXDEV) {
		return nil
	}
	if err != nil {
		return err
	}
	err = w.file(fd, depth+1)
	_ = unix.Close(fd) // only a place
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// openPlace finds a name of a directory, a link too, on the directory's mount.
func openPlace(dir int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		return fd, err
	}
}

// setLabel labels what fd stands for, unless it has the label.
func setLabel(fd int, label string) error {
	// A place has no attributes of its own; what it stands for is behind this.
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	have := make([]byte, len(label)+2)
	if n, err := unix.Getxattr(path, attribute, have); err == nil && n > 0 && string(trimZero(have[:n])) == label {
		return nil
	}
	return unix.Setxattr(path, attribute, append([]byte(label), 0), 0)
}

func trimZero(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == 0 {
		return b[:n-1]
	}
	return b
}
