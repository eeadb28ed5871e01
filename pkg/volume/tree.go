package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories are held open at once. What is deeper is
// first moved up; containers can nest directories without end.
const maxDepth = 64

// removeTree removes a directory with all it holds. It goes down only into real
// directories on the same mount: a mount that is left makes it fail with EXDEV
// before anything behind it is touched.
func removeTree(ctx context.Context, path string) error {
	dir, err := openDirAt(unix.AT_FDCWD, path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	r := remover{ctx: ctx, top: dir}
	if err := r.empty(dir, 0); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return os.Remove(path)
}

// openDirAt opens a directory that name names itself, not through a link, and on
// the mount of its parent.
func openDirAt(parent int, name string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW}
	if parent != unix.AT_FDCWD {
		how.Resolve = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH
	}
	for {
		fd, err := unix.Openat2(parent, name, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

type remover struct {
	ctx context.Context
	top *os.File
	// n counts what has been moved up to top.
	n int
}

// empty removes all that dir holds. It begins anew after each part, because
// removing may shuffle what is still to be listed.
func (r *remover) empty(dir *os.File, depth int) error {
	for {
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		entries, err := dir.ReadDir(256)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		for _, e := range entries {
			if err := r.remove(dir, e.Name(), depth); err != nil {
				return err
			}
		}
	}
}

func (r *remover) remove(dir *os.File, name string, depth int) error {
	fd := int(dir.Fd())
	err := unix.Unlinkat(fd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return &os.PathError{Op: "unlink", Path: name, Err: err}
	}
	err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	if depth >= maxDepth {
		return r.moveUp(fd, name)
	}
	sub, err := openDirAt(fd, name)
	if err != nil {
		return err
	}
	err = r.empty(sub, depth+1)
	_ = sub.Close() // it was only read
	if err != nil {
		return err
	}
	err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

// moveUp moves a deep directory to the top, to be removed from there.
func (r *remover) moveUp(fd int, name string) error {
	for {
		r.n++
		err := unix.Renameat2(fd, name, int(r.top.Fd()), ".deep-"+strconv.Itoa(r.n), unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "rename", Path: name, Err: err}
		}
		return nil
	}
}
