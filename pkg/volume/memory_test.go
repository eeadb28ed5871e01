package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestSecretsShareOneFileSystem(t *testing.T) {
	b := newBench(t)
	b.o.secrets["s"] = &corev1.Secret{Data: map[string][]byte{"key": []byte("value")}}
	mounts := func() int {
		all, err := mountinfo.GetMounts(mountinfo.PrefixFilter(b.dir))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	var paths []string
	for _, uid := range []types.UID{"one", "two"} {
		p := volumePod(vol("s", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}))
		p.UID = uid
		b.prepare(p)
		b.prepare(p)
		path := b.mounts(p, 0)["/s"].HostPath
		paths = append(paths, path)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("mode %v", info.Mode())
		}
	}
	if n := mounts(); n != 1 {
		t.Errorf("%d mounts, want one for both pods", n)
	}
	if err := b.m.Remove(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(paths[0]); !os.IsNotExist(err) {
		t.Errorf("the removed pod's secret: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(paths[1], "key")); err != nil || string(data) != "value" {
		t.Errorf("the other pod's secret: %q, %v", data, err)
	}
	for range 2 {
		if err := b.m.Remove(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(b.dir, "memory")); !os.IsNotExist(err) {
		t.Errorf("the place of the file system: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(b.dir, "pods")); err != nil || len(left) != 0 || mounts() != 0 {
		t.Errorf("left %v, %v, %d mounts", left, err, mounts())
	}
}
