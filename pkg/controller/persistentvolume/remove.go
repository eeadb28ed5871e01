package persistentvolume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// temporaryRoot is the one directory whose content is removed because a volume
// of an administrator said so.
const temporaryRoot = "/tmp"

// temporary says whether a path is below that directory.
func temporary(path string) bool {
	path = filepath.Clean(path)
	return strings.HasPrefix(path, temporaryRoot+"/")
}

// removeTemporary removes a directory below the root and all that is in it. Links
// that others have put there lead nowhere else. Interrupted, it goes on when
// called again.
func removeTemporary(root, path string) error {
	rel, err := filepath.Rel(root, filepath.Clean(path))
	if err != nil {
		return err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only walked
	return r.RemoveAll(rel)
}

// deleteVolume removes the directory of a released volume, and then its object.
func (c *Controller) deleteVolume(ctx context.Context, v *corev1.PersistentVolume) error {
	if err := c.remove(v.Spec.HostPath.Path); err != nil {
		step := failed(v, err.Error())
		if step.Writes() {
			if err := c.write(ctx, &step); err != nil {
				return err
			}
			c.tell(step)
		}
		return fmt.Errorf("removing the directory of volume %s: %w", v.Name, err)
	}
	err := c.client.CoreV1().PersistentVolumes().Delete(ctx, v.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID, ResourceVersion: &v.ResourceVersion}})
	return gone(err)
}
