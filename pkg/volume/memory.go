package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// memory is the file system for what must not reach a disk: Secrets, tokens and
// what else comes from the API beside ConfigMaps. It is one for all pods: every
// mount of the machine costs each start of a container some time. Containers get
// what is theirs of it, and only to read. It is mounted while a pod has something
// in it.
type memory struct {
	mu  sync.Mutex
	dir string
}

func (m *memory) of(uid types.UID) string { return filepath.Join(m.dir, string(uid)) }

// volume is where a volume of a pod is.
func (m *memory) volume(uid types.UID, name string) string { return filepath.Join(m.of(uid), name) }

// open makes the directory of a volume, and a link to it at the volume's place
// among the pod's others.
func (m *memory) open(uid types.UID, name, place string, group int) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mount(); err != nil {
		return "", err
	}
	if err := os.Mkdir(m.of(uid), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", written(err)
	}
	dir := m.volume(uid, name)
	// To read the link would be noted on the disk, so one that is there is
	// looked at only where it may lead elsewhere.
	_, made := os.Lstat(dir)
	_, linked := os.Lstat(place)
	if err := openDir(dir, group, fs.ModeSticky); err != nil || made == nil && linked == nil {
		return dir, err
	}
	return dir, link(dir, place)
}

// mount keeps its pages from being swapped out, where the kernel can promise
// that (6.4).
func (m *memory) mount() error {
	const mode, flags = "mode=0700", unix.MS_NOSUID | unix.MS_NODEV
	err := tmpfs(m.dir, mode+",noswap", flags)
	if errors.Is(err, unix.EINVAL) {
		err = tmpfs(m.dir, mode, flags)
	}
	return err
}

// remove removes what a pod has, and after the last pod the file system.
func (m *memory) remove(uid types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := os.RemoveAll(m.of(uid)); err != nil {
		return err
	}
	left, err := os.ReadDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || len(left) > 0 {
		return err
	}
	if err := unmount(m.dir); err != nil {
		return err
	}
	if err := os.Remove(m.dir); err != nil {
		return fmt.Errorf("removing the directory in memory: %w", err)
	}
	return nil
}
