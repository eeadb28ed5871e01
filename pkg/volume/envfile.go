package volume

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// maxEnvFile bounds what a container can make the node read.
const maxEnvFile = 1 << 20

var errNoEnvFile = errors.New("is no file that can be read for variables")

// EnvFile reads a file that variables come from out of a volume in the pod's
// directory. Links are followed as if the volume were all there is.
func (m *Manager) EnvFile(uid types.UID, ref pod.FileRef) pod.EnvFile {
	l, err := m.layout(uid)
	if err == nil && !component(ref.Volume) {
		err = fmt.Errorf("volume %q: %w", ref.Volume, errNoEnvFile)
	}
	if err != nil {
		return pod.EnvFile{Err: err}
	}
	dir := l.volume(ref.Volume)
	f := pod.EnvFile{Path: filepath.Join(dir, ref.Path)}
	f.Text, f.Err = readInside(dir, ref.Path)
	return f
}

func readInside(dir, name string) (text string, err error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer func() { _ = unix.Close(root) }()
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		// A pipe must not hold the node up.
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return "", &os.PathError{Op: "open", Path: filepath.Join(dir, name), Err: err}
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir, name)) //nolint:gosec // a descriptor
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: %w", f.Name(), errNoEnvFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err == nil && len(data) > maxEnvFile {
		err = fmt.Errorf("%s: %w: it is larger than %d bytes", f.Name(), errNoEnvFile, maxEnvFile)
	}
	return string(data), err
}
