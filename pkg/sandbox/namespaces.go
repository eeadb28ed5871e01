package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
)

// The files in a sandbox's directory.
const (
	netFile = "net"
	ipcFile = "ipc"
	utsFile = "uts"
	shmDir  = "shm"
)

// namespaceFiles are all namespaces that can be pinned, named as in
// /proc/<pid>/ns.
func namespaceFiles() []string { return []string{netFile, ipcFile, utsFile} }

// shmSize is the size of /dev/shm that Kubernetes gives a pod.
const shmSize = 64 << 20

// makeNamespaces makes the namespaces of a sandbox, with their hostname, kernel
// settings and loopback device, and pins them in dir. It returns their
// identities.
func makeNamespaces(dir string, r *record, sysctls []pod.Sysctl) (map[string]string, error) {
	for _, name := range r.namespaces() {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("make mount point: %w", err)
		}
	}
	if err := onThrowawayThread(func() error { return unshareAndPin(dir, r, sysctls) }); err != nil {
		return nil, err
	}
	pins := map[string]string{}
	for _, name := range r.namespaces() {
		id, ok := cni.NamespaceID(filepath.Join(dir, name))
		if !ok {
			return nil, fmt.Errorf("namespace %s is not pinned", name)
		}
		pins[name] = id
	}
	return pins, nil
}

// onThrowawayThread runs f on an operating system thread that ends with it, so
// that f may change the thread's namespaces.
func onThrowawayThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end; it would stay in the new
			// namespaces, and /proc/self with it. While it is held here, the
			// other goroutine gets another one.
			result <- onThrowawayThread(f)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the runtime then ends the thread.
		result <- f()
	}()
	return <-result
}

// unshareAndPin changes the namespaces of the calling thread.
func unshareAndPin(dir string, r *record, sysctls []pod.Sysctl) error {
	flags := 0
	if !r.HostNetwork {
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
	}
	if !r.HostIPC {
		flags |= unix.CLONE_NEWIPC
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if !r.HostNetwork {
		if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", r.Hostname, err)
		}
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := setSysctls(r, sysctls); err != nil {
		return err
	}
	for _, name := range r.namespaces() {
		source := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), name)
		if err := unix.Mount(source, filepath.Join(dir, name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin namespace %s: %w", name, err)
		}
	}
	return nil
}

func loopbackUp() error {
	// Opened here, in the new namespace.
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// mountShm mounts what becomes /dev/shm.
func mountShm(dir string) error {
	target := filepath.Join(dir, shmDir)
	if err := os.MkdirAll(target, 0o700); err != nil {
		return fmt.Errorf("make shm: %w", err)
	}
	data := fmt.Sprintf("mode=1777,size=%d", shmSize)
	if err := unix.Mount("shm", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return fmt.Errorf("mount shm: %w", err)
	}
	return nil
}

// shmMounted compares devices: the directory around it may be a tmpfs too.
func shmMounted(dir string) bool {
	var outer, inner unix.Stat_t
	return unix.Stat(dir, &outer) == nil &&
		unix.Stat(filepath.Join(dir, shmDir), &inner) == nil &&
		outer.Dev != inner.Dev
}

// unmountAll takes away what is mounted in a sandbox's directory. A mount point
// that was mounted over more than once is cleared to the bottom.
func unmountAll(dir string) error {
	var errs []error
	for _, name := range append(namespaceFiles(), shmDir) {
		target := filepath.Join(dir, name)
		for {
			err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
				break // no mount point, or nothing there
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", target, err))
				break
			}
		}
	}
	return errors.Join(errs...)
}
