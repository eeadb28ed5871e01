package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// fakeImages mounts a directory as every image.
type fakeImages struct {
	dir     string
	removed []types.UID
	t       *testing.T
}

func (f *fakeImages) MountImage(_ context.Context, _ types.UID, _, dir string, _ pod.IDRange) (string, error) {
	target := filepath.Join(dir, "content")
	if err := os.MkdirAll(target, 0o700); err != nil {
		return "", err
	}
	return target, unix.Mount(f.dir, target, "", unix.MS_BIND, "")
}

func (f *fakeImages) RemoveImages(_ context.Context, uid types.UID) error {
	if entries, err := os.ReadDir(filepath.Join(f.dir, "..", "pods", string(uid), "images", "content")); err != nil || len(entries) > 0 {
		f.t.Errorf("still mounted, or nothing tells of it any more: %v %v", entries, err)
	}
	f.removed = append(f.removed, uid)
	return nil
}

func TestImageVolume(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(b.dir, "image")
	for _, sub := range []string{"a/b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"in": "a/b", "out": "../..", "up": "/etc"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	images := &fakeImages{dir: dir, t: t}
	b.m.opts.Images = images
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u-1", Name: "p"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "i"}}}}
	p.Spec.Containers = []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}}
	if err := b.m.Prepare(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(b.m.opts.PodsDir, "u-1", "images", "content")
	for sub, want := range map[string]string{
		"": "", "a/b": "a/b", "in": "a/b", "out": "!escapes", "up": "!escapes", "none": "!no such file", "file": "!only directory subpath is supported",
	} {
		p.Spec.Containers[0].VolumeMounts[0].SubPath = sub
		mounts, err := b.m.Mounts(t.Context(), p, "c", 0)
		if text, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.HasPrefix(err.Error(), "failed to mount image volume: ImageVolumeMountFailed: ") || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v", sub, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", sub, err)
		}
		for _, m := range mounts {
			if m.ContainerPath == "/v" && (m.HostPath != filepath.Join(root, want) || !m.ReadOnly) {
				t.Errorf("%q: %+v", sub, m)
			}
		}
	}
	if err := b.m.Remove(t.Context(), p.UID); err != nil {
		t.Fatal(err)
	}
	if len(images.removed) != 1 {
		t.Errorf("removed for %v", images.removed)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Errorf("the image itself: %v", err)
	}
}
