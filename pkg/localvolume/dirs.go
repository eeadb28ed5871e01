package localvolume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// errForeign is a volume whose directory is not where this node's are.
var errForeign = errors.New("it is not a directory of this node's volumes")

// Dirs are the directories of this node's volumes, each named like its volume.
type Dirs struct{ Root string }

// path returns where a volume is. What the API says is not followed anywhere
// else: what is removed there is removed by root.
func (d Dirs) path(v *corev1.PersistentVolume) (string, error) {
	dir := filepath.Join(d.Root, v.Name)
	if v.Spec.Local == nil || v.Spec.Local.Path != dir || filepath.Dir(dir) != filepath.Clean(d.Root) {
		return "", fmt.Errorf("volume %s: %w", v.Name, errForeign)
	}
	return dir, nil
}

// Make makes the directory of a volume, and holds it to its capacity where the
// file system can. One that is there is left as it is.
func (d Dirs) Make(v *corev1.PersistentVolume) error {
	dir, err := d.path(v)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(d.Root, 0o700); err != nil {
		return err
	}
	// It appears with its mode and its bounds, not before.
	tmp := filepath.Join(d.Root, ".new-"+v.Name)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o777); err != nil { // #nosec G302 -- containers of any user write there
		return err
	}
	if err := d.bound(tmp, v); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// Remove removes the directory of a volume and all that is in it. Interrupted,
// it goes on when called again.
func (d Dirs) Remove(v *corev1.PersistentVolume) error {
	dir, err := d.path(v)
	if err != nil {
		return err
	}
	for _, at := range []string{filepath.Join(d.Root, ".new-"+v.Name), dir} {
		if err := d.free(at); err != nil {
			return err
		}
		if err := os.RemoveAll(at); err != nil {
			return err
		}
	}
	return nil
}

// Resize holds a directory that is there to a new capacity.
func (d Dirs) Resize(v *corev1.PersistentVolume) error {
	dir, err := d.path(v)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return d.bound(dir, v)
}
