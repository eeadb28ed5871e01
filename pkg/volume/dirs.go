package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// noGroup leaves the group of a volume's files as it is.
const noGroup = -1

// groupOf is the pod's fsGroup, or noGroup.
func groupOf(p *corev1.Pod) int {
	if g := pod.FSGroup(p); g != nil {
		return int(*g)
	}
	return noGroup
}

// openDir makes a directory that everyone may write to; with a group, what is
// made in it belongs to that group too. One that exists keeps its mode, which is
// its users' to change. more are further bits of the mode.
func openDir(dir string, group int, more fs.FileMode) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// It appears with its mode, not before.
	tmp := filepath.Join(filepath.Dir(dir), ".new-"+filepath.Base(dir))
	if err := os.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return written(err)
	}
	mode := fs.FileMode(0o777) | more
	if group != noGroup {
		if err := os.Chown(tmp, -1, group); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	if err := os.Chmod(tmp, mode); err != nil { // #nosec G302 -- containers of any user write there
		return err
	}
	return os.Rename(tmp, dir)
}

func prepareEmptyDir(dir string, p *corev1.Pod, s *corev1.EmptyDirVolumeSource) error {
	switch s.Medium {
	case corev1.StorageMediumDefault:
		return openDir(dir, groupOf(p), 0)
	case corev1.StorageMediumMemory:
		return tmpfs(dir, fmt.Sprintf("%s,size=%d", memoryMode(groupOf(p)), memoryDirSize(p, s)), 0)
	}
	if s.Medium == corev1.StorageMediumHugePages || strings.HasPrefix(string(s.Medium), string(corev1.StorageMediumHugePagesPrefix)) {
		size, err := pod.HugePageVolume(p, s.Medium)
		if err != nil {
			return err
		}
		return mountOnce("hugetlbfs", dir, fmt.Sprintf("%s,pagesize=%d", memoryMode(groupOf(p)), size), 0)
	}
	return unsupported(fmt.Sprintf("emptyDir medium %q", s.Medium))
}

// memoryDirSize returns the bytes a volume in memory may take: its sizeLimit, or
// the sum of the memory limits of the pod's containers if that is lower, since
// its pages count for them. Zero: neither is set; the kernel then allows half of
// the machine's memory.
func memoryDirSize(p *corev1.Pod, s *corev1.EmptyDirVolumeSource) int64 {
	var sum int64
	for _, c := range p.Spec.Containers {
		limit := c.Resources.Limits.Memory().Value()
		if limit == 0 {
			sum = 0
			break
		}
		sum += limit
	}
	var size int64
	if s.SizeLimit != nil {
		size = s.SizeLimit.Value()
	}
	if size == 0 || sum > 0 && sum < size {
		return sum
	}
	return size
}

// memoryMode are the mount options for a directory that everyone may write to,
// and that hands its group, if there is one, to what is made in it.
func memoryMode(group int) string {
	if group == noGroup {
		return "mode=1777"
	}
	return fmt.Sprintf("mode=3777,gid=%d", group)
}

// tmpfs mounts a file system in memory at dir, if none is there.
func tmpfs(dir, options string, flags uintptr) error { return mountOnce("tmpfs", dir, options, flags) }

// mountOnce mounts a file system of the kernel's own at dir, if none is there.
func mountOnce(kind, dir, options string, flags uintptr) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return written(err)
	}
	mounted, err := mountinfo.Mounted(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount(kind, dir, kind, flags, options); err != nil {
		return fmt.Errorf("mounting a %s at %s: %w", kind, dir, err)
	}
	return nil
}

// prepareHostPath checks or makes what the volume's type says. With no type
// nothing is checked.
func prepareHostPath(s *corev1.HostPathVolumeSource) error {
	kind := or(s.Type, corev1.HostPathUnset)
	st, err := os.Stat(s.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing && kind != corev1.HostPathUnset {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return makeHostDir(s.Path)
		}
	case corev1.HostPathFileOrCreate:
		if missing {
			return makeHostFile(s.Path)
		}
	}
	what, ok := hostPathKind(kind, missing, st)
	switch {
	case ok:
		return nil
	case what == "":
		return invalid("%s is an invalid volume type", kind)
	case missing:
		return invalid("hostPath type check failed, %s is not a %s, unable to determine its type: path %q does not exist", s.Path, what, s.Path)
	}
	is, known := kindOfFile(st.Mode().Type())
	if !known {
		return invalid("hostPath type check failed, %s is not a %s, unable to determine its type: "+
			"only recognise file, directory, socket, block device and character device", s.Path, what)
	}
	return invalid("hostPath type check failed: %s is not a %s, it's a %s", s.Path, what, is)
}

// kindOfFile is what a hostPath type calls a file.
func kindOfFile(mode fs.FileMode) (corev1.HostPathType, bool) {
	switch mode {
	case fs.ModeDir:
		return corev1.HostPathDirectory, true
	case 0:
		return corev1.HostPathFile, true
	case fs.ModeSocket:
		return corev1.HostPathSocket, true
	case fs.ModeDevice | fs.ModeCharDevice:
		return corev1.HostPathCharDev, true
	case fs.ModeDevice:
		return corev1.HostPathBlockDev, true
	}
	return "", false
}

// hostPathKind says whether what is there is of the wanted kind, and what that
// kind is called; nothing where there is no such kind.
func hostPathKind(kind corev1.HostPathType, missing bool, st fs.FileInfo) (string, bool) {
	var mode fs.FileMode
	if !missing {
		mode = st.Mode().Type()
	}
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return "directory", !missing && mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return "file", !missing && mode.IsRegular()
	case corev1.HostPathSocket:
		return "socket file", mode == fs.ModeSocket
	case corev1.HostPathCharDev:
		return "character device", mode == fs.ModeDevice|fs.ModeCharDevice
	case corev1.HostPathBlockDev:
		return "block device", mode == fs.ModeDevice
	}
	return "", false
}

// makeHostDir makes a directory and its parents with the mode that Kubernetes
// documents, whatever the umask is.
func makeHostDir(path string) error {
	err := os.MkdirAll(path, 0o755) // #nosec G301 -- as documented
	if err == nil {
		err = os.Chmod(path, 0o755) // #nosec G302 -- as documented
	}
	return written(err)
}

// makeHostFile makes an empty file. Its directory has to be there.
func makeHostFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644) // #nosec G302 -- as documented
	if errors.Is(err, fs.ErrNotExist) {
		return invalid("%v", err)
	}
	if err != nil {
		return written(err)
	}
	return errors.Join(f.Chmod(0o644), f.Close())
}
