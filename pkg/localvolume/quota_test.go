package localvolume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/internal/osthread"
)

// TestCapacity: where the file system has project quotas, a volume takes what it
// may and no more, grows, and leaves no limit behind; elsewhere it says that it
// is not held to anything, and works. CAROB_QUOTA_DIR is a directory where there
// have to be quotas.
func TestCapacity(t *testing.T) {
	parent := t.TempDir()
	must := os.Getenv("CAROB_QUOTA_DIR")
	if must != "" {
		parent = must
	}
	d := Dirs{Root: filepath.Join(parent, "volumes")}
	t.Logf("probe: %v", d.probe())
	if !d.Enforced() && must != "" {
		t.Fatal("no quotas")
	}
	v := Wanted(wanting("1Mi"), class(), Place{Node: "here", Root: d.Root, Enforced: d.Enforced()})
	other := Wanted(wanting("1Mi"), class(), Place{Node: "here", Root: d.Root, Enforced: d.Enforced()})
	other.Name, other.Spec.Local = "other", &corev1.LocalVolumeSource{Path: filepath.Join(d.Root, "other")}
	if err := errors.Join(d.Make(v), d.Make(other)); err != nil {
		t.Fatal(err)
	}
	fill := func(v *corev1.PersistentVolume, bytes int) error {
		return osthread.Throwaway(func() error {
			if err := unprivileged(); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(v.Spec.Local.Path, "file"), make([]byte, bytes), 0o600)
		})
	}
	full := func(err error) bool { return errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) }
	if err := fill(v, 512<<10); err != nil {
		t.Errorf("half of the capacity: %v", err)
	}
	if err := fill(v, 2<<20); full(err) != d.Enforced() {
		t.Errorf("twice the capacity: %v", err)
	}
	if err := fill(other, 512<<10); err != nil {
		t.Errorf("another volume: %v", err)
	}
	v.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse("4Mi")
	if err := d.Resize(v); err != nil {
		t.Fatal(err)
	}
	if err := fill(v, 2<<20); err != nil {
		t.Errorf("half of the new capacity: %v", err)
	}
	if err := errors.Join(d.Remove(v), d.Remove(other)); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(d.Root); err != nil || len(entries) > 0 {
		t.Errorf("left: %v %v", entries, err)
	}
}
