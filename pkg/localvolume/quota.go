package localvolume

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/internal/osthread"
)

// The kernel's interface to projects and their quotas, which is not in
// golang.org/x/sys. A project is a number that files have; what is made in a
// directory that inherits has its number.
const (
	getAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	setAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	inherit       = 0x200      // FS_XFLAG_PROJINHERIT

	projectQuota = 2
	setQuota     = 0x800008<<8 | projectQuota // Q_SETQUOTA
	blockLimits  = 1                          // QIF_BLIMITS

	// firstProject keeps away from the small numbers that people give.
	firstProject = 1 << 30
)

// attributes is struct fsxattr.
type attributes struct {
	flags, extentSize, extents, project, cowExtentSize uint32
	_                                                  [8]byte
}

// quota is struct if_dqblk; sizes are in KiB.
type quota struct {
	hard, soft, used, inodesHard, inodesSoft, inodesUsed, time, inodeTime uint64
	valid                                                                 uint32
}

// enforced remembers what came of the probe, by root.
var enforced sync.Map

// Enforced says whether the file system holds directories to their capacity: it
// has been tried, once.
func (d Dirs) Enforced() bool {
	once, _ := enforced.LoadOrStore(d.Root, sync.OnceValue(func() bool { return d.probe() == nil }))
	f, ok := once.(func() bool)
	return ok && f()
}

// errNoLimit says that more could be written than allowed.
var errNoLimit = errors.New("the limit is not kept")

// probe tries to write more than is allowed.
func (d Dirs) probe() error {
	if err := os.MkdirAll(d.Root, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(d.Root, ".probe-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	const allowed = 64 << 10
	if err := limit(dir, d.freeProject(filepath.Base(dir)), allowed); err != nil {
		return err
	}
	defer func() { _ = d.free(dir) }()
	// Whoever may go over limits would prove nothing.
	return osthread.Throwaway(func() error {
		return errors.Join(unprivileged(), overfill(filepath.Join(dir, "file"), 4*allowed))
	})
}

// unprivileged takes from the calling thread the right to go over limits.
func unprivileged() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_RESOURCE
	return unix.Capset(&header, &data[0])
}

func overfill(file string, size int) error {
	err := os.WriteFile(file, make([]byte, size), 0o600)
	switch {
	case errors.Is(err, unix.EDQUOT), errors.Is(err, unix.ENOSPC):
		return nil
	case err != nil:
		return err
	}
	return errNoLimit
}

// bound holds a directory to the capacity of its volume, where the file system
// can.
func (d Dirs) bound(dir string, v *corev1.PersistentVolume) error {
	if !d.Enforced() {
		return nil
	}
	project, err := projectOf(dir)
	if err != nil {
		return err
	}
	if project == 0 {
		project = d.freeProject(v.Name)
	}
	return limit(dir, project, v.Spec.Capacity.Storage().Value())
}

// free takes the limit of a directory's project away.
func (d Dirs) free(dir string) error {
	project, err := projectOf(dir)
	if err != nil || project < firstProject {
		return nil //nolint:nilerr // no directory, or no file system with projects
	}
	if err := setLimit(dir, project, 0); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return nil
}

// freeProject returns a number that no other directory of this node's has.
func (d Dirs) freeProject(name string) uint32 {
	taken := map[uint32]bool{}
	entries, _ := os.ReadDir(d.Root)
	for _, e := range entries {
		if p, err := projectOf(filepath.Join(d.Root, e.Name())); err == nil {
			taken[p] = true
		}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	p := firstProject | h.Sum32()%firstProject
	for taken[p] {
		p = firstProject | (p+1)%firstProject
	}
	return p
}

// limit gives a directory a project of its own, with a limit. The limit comes
// first, so that it is never without.
func limit(dir string, project uint32, bytes int64) error {
	if err := setLimit(dir, project, bytes); err != nil {
		return err
	}
	return withDir(dir, func(fd uintptr) error {
		var a attributes
		if err := ioctl(fd, getAttributes, &a); err != nil {
			return fmt.Errorf("reading the project of %s: %w", dir, err)
		}
		if a.project == project && a.flags&inherit != 0 {
			return nil
		}
		a.project, a.flags = project, a.flags|inherit
		if err := ioctl(fd, setAttributes, &a); err != nil {
			return fmt.Errorf("making %s a project: %w", dir, err)
		}
		return nil
	})
}

func projectOf(dir string) (uint32, error) {
	var a attributes
	err := withDir(dir, func(fd uintptr) error { return ioctl(fd, getAttributes, &a) })
	return a.project, err
}

func setLimit(dir string, project uint32, bytes int64) error {
	q := quota{hard: uint64(max(0, (bytes+1023)/1024)), valid: blockLimits}
	q.soft = q.hard
	return withDir(dir, func(fd uintptr) error {
		_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, fd, setQuota, uintptr(project), uintptr(unsafe.Pointer(&q)), 0, 0) // #nosec G103 -- the kernel reads the struct
		if errno != 0 {
			return fmt.Errorf("limiting %s: %w", dir, errno)
		}
		return nil
	})
}

func ioctl(fd uintptr, request uintptr, a *attributes) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(a))) // #nosec G103 -- the kernel fills or reads the struct
	if errno != 0 {
		return errno
	}
	return nil
}

func withDir(dir string, f func(fd uintptr) error) error {
	file, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return f(file.Fd())
}

// sweep removes what an interrupted probe has left.
func (d Dirs) sweep() error {
	left, err := filepath.Glob(filepath.Join(d.Root, ".probe-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := errors.Join(d.free(dir), os.RemoveAll(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
