package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/osthread"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
)

// The files in a sandbox's directory.
const (
	netFile  = "net"
	ipcFile  = "ipc"
	utsFile  = "uts"
	userFile = "user"
	shmDir   = "shm"
)

// namespaceFiles are all namespaces that can be pinned, named as in
// /proc/<pid>/ns.
func namespaceFiles() []string { return []string{netFile, ipcFile, utsFile, userFile} }

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
	make := unshareAndPin
	if r.Users.Mapped() {
		make = pinOwned
	}
	if err := osthread.Throwaway(func() error { return make(dir, r, sysctls) }); err != nil {
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

// unshareAndPin changes the namespaces of the calling thread.
func unshareAndPin(dir string, r *record, sysctls []pod.Sysctl) error {
	if err := unix.Unshare(r.cloneFlags()); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := furnish(r, sysctls); err != nil {
		return err
	}
	return pin(dir, r, fmt.Sprintf("/proc/self/task/%d", unix.Gettid()))
}

// pin mounts the namespaces of a process or thread.
func pin(dir string, r *record, proc string) error {
	for _, name := range r.namespaces() {
		if err := unix.Mount(proc+"/ns/"+name, filepath.Join(dir, name), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin namespace %s: %w", name, err)
		}
	}
	return nil
}

// furnish gives the namespaces of the calling thread what the pod finds there.
func furnish(r *record, sysctls []pod.Sysctl) error {
	if !r.HostNetwork {
		if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", r.Hostname, err)
		}
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	return setSysctls(r, sysctls)
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

// mountShm mounts what becomes /dev/shm. It belongs to root as the pod has it.
func mountShm(dir string, users pod.IDRange) error {
	target := filepath.Join(dir, shmDir)
	if err := os.MkdirAll(target, 0o700); err != nil {
		return fmt.Errorf("make shm: %w", err)
	}
	data := fmt.Sprintf("mode=1777,size=%d,uid=%d,gid=%[2]d", shmSize, users.First)
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
