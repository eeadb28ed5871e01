package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// bindSubPath mounts what sub names inside the volume at target. It is resolved
// by the kernel such that no link and no '..' leads out of the volume, and the
// very file that was found is mounted, so that a container which changes the
// volume at the same time cannot get at anything else. With propagates, mounts
// below it come and go as they do in the volume.
func bindSubPath(volume, sub, target string, propagates bool) error {
	if path.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") {
		return invalid("subPath %q must be relative and not contain '..'", sub)
	}
	fd, err := openBeneath(volume, sub)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeBeneath(volume, sub); err == nil {
			fd, err = openBeneath(volume, sub)
		}
	}
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return invalid("subPath %q leads out of the volume", sub)
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // only a place, opened with O_PATH
	return bindFD(fd, target, propagates)
}

// openBeneath opens sub below the volume as a place.
func openBeneath(volume, sub string) (int, error) {
	dir, err := unix.Open(volume, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: volume, Err: err}
	}
	defer func() { _ = unix.Close(dir) }()
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range 100 {
		fd, err := unix.Openat2(dir, sub, &how)
		// EAGAIN: something was renamed meanwhile, so the kernel is not sure.
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path.Join(volume, sub), Err: err}
		}
		return fd, nil
	}
	return -1, &os.PathError{Op: "open", Path: path.Join(volume, sub), Err: unix.EAGAIN}
}

// makeBeneath makes the missing directories of sub with the mode of the volume.
func makeBeneath(volume, sub string) error {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	st, err := root.Stat(".")
	if err != nil {
		return err
	}
	dir := ""
	for _, name := range strings.Split(path.Clean(sub), "/") {
		dir = path.Join(dir, name)
		err := root.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			// A set-group-ID bit hands the pod's fsGroup on; a sticky bit is
			// that of a directory in memory.
			err = root.Chmod(dir, st.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSticky))
		}
		if err != nil {
			return written(err)
		}
	}
	return nil
}

// bindFD mounts an open place at target, unless it is mounted there already.
func bindFD(fd int, target string, propagates bool) error {
	var want unix.Stat_t
	if err := unix.Fstat(fd, &want); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return written(err)
	}
	mounted, err := mountinfo.Mounted(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if mounted {
		var have unix.Stat_t
		if err := unix.Lstat(target, &have); err == nil && have.Dev == want.Dev && have.Ino == want.Ino {
			return nil
		}
		// An earlier attempt's; that one has a mount of its own.
		if err := unmount(target); err != nil {
			return err
		}
	}
	if err := makeTarget(target, want.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return written(err)
	}
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting it at %s: %w", target, err)
	}
	if propagates {
		return nil
	}
	// Where the volume is a shared mount this one would follow it.
	if err := unix.Mount("", target, "", unix.MS_PRIVATE, ""); err != nil {
		return errors.Join(fmt.Errorf("making %s private: %w", target, err), unmount(target))
	}
	return nil
}

// makeTarget makes something of the right kind to mount on.
func makeTarget(target string, dir bool) error {
	st, err := os.Lstat(target)
	if err == nil && st.IsDir() == dir {
		return nil
	}
	if err == nil {
		err = os.Remove(target)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if dir {
		return os.Mkdir(target, 0o700)
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
