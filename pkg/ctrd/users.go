package ctrd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/internal/osthread"
	"github.com/carob-project/carob/pkg/pod"
)

// mapsIDs says whether an OCI runtime can make what a pod with a user namespace
// needs.
func mapsIDs(f features.Features) bool {
	if f.Linux == nil || f.Linux.MountExtensions == nil || f.Linux.MountExtensions.IDMap == nil {
		return false
	}
	idmap := f.Linux.MountExtensions.IDMap.Enabled
	return idmap != nil && *idmap && slices.Contains(f.Linux.Namespaces, string(specs.UserNamespace))
}

// probeAgain is for how long a kernel that could not map IDs is not asked again:
// it may have run out of user namespaces, or an administrator allows them.
const probeAgain = time.Minute

// kernelProbe remembers whether the kernel can map the IDs of mounts.
type kernelProbe struct {
	mu     sync.Mutex
	can    bool
	asked  time.Time
	warned sync.Once
}

// mapsIDs says whether the kernel can make a user namespace, and show a file
// system in memory, the last kind to learn it (Linux 6.3), with its IDs. That it
// cannot is said once.
func (k *kernelProbe) mapsIDs(log *zap.Logger) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.can || !k.asked.IsZero() && time.Since(k.asked) < probeAgain {
		return k.can
	}
	k.asked = time.Now()
	err := osthread.Kept(mapMemory)
	k.can = err == nil
	if err != nil {
		k.warned.Do(func() {
			log.Info("the kernel cannot give pods users of their own, as it would since Linux 6.3", zap.Error(err))
		})
	}
	return k.can
}

// mapMemory makes such a file system that nobody else sees and that is gone
// with its return.
func mapMemory() error {
	const ids = "0:65536:65536"
	users, err := mount.GetUsernsFD(ids, ids)
	if err != nil {
		return fmt.Errorf("user namespace: %w", err)
	}
	defer func() { _ = users.Close() }()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	tree, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	defer func() { _ = unix.Close(tree) }()
	return mapTree(tree, users)
}

func mapTree(tree int, users *os.File) error {
	err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd()),
	})
	if err != nil {
		return fmt.Errorf("mapping the IDs of a mount: %w", err)
	}
	return nil
}

// checkUsers finds out before anything is made whether a pod's user namespace
// can reach its containers' root file systems, which a private containerd has
// below state, and has what they mount.
func checkUsers(req *pod.CreateRequest, state string) error {
	if !req.Sandbox.Users.Mapped() {
		return nil
	}
	if err := traversable(state); err != nil {
		return err
	}
	users, err := os.Open(req.Sandbox.Namespaces.User)
	if err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	defer func() { _ = users.Close() }()
	for _, m := range req.Mounts {
		if m.Propagation == corev1.MountPropagationBidirectional {
			// The kernel hands none on from a user namespace.
			return fmt.Errorf("%w: mount %s: mountPropagation %s is not possible in a pod with `hostUsers: false`",
				pod.ErrConfig, m.ContainerPath, m.Propagation)
		}
		if m.Mapped {
			continue
		}
		if err := mappable(m.HostPath, users); err != nil {
			return fmt.Errorf("mount %s: %w", m.ContainerPath, err)
		}
	}
	return nil
}

// mappable tries the mapping on a copy of the mount that nobody else sees.
func mappable(path string, users *os.File) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(tree) }()
	err = mapTree(tree, users)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: a pod with `hostUsers: false` cannot mount %s: its file system (%s) cannot map user IDs",
			pod.ErrConfig, path, fileSystem(path))
	}
	return err
}

// fileSystem names the kind of file system of a path.
func fileSystem(path string) string {
	kind := "unknown"
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mounts, _ := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	longest := 0
	for _, m := range mounts {
		if len(m.Mountpoint) >= longest {
			longest, kind = len(m.Mountpoint), m.FSType
		}
	}
	return kind
}

// traversable says whether any user can get through a directory. An empty path
// is not asked about.
func traversable(dir string) error {
	for ; dir != "" && dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("the users of a pod with `hostUsers: false` cannot get through %s, where containerd keeps root file systems: chmod o+x it", dir)
		}
	}
	return nil
}

// idMappings are the mappings of a user namespace in OCI's terms.
func idMappings(r pod.IDRange) []specs.LinuxIDMapping {
	if !r.Mapped() {
		return nil
	}
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: r.First, Size: r.Size}}
}
