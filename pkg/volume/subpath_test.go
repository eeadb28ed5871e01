package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

func subPathPod(sub string, v corev1.VolumeSource) *corev1.Pod {
	p := volumePod(vol("v", v))
	p.Spec.Containers[0].VolumeMounts[0].SubPath = sub
	return p
}

func TestSubPath(t *testing.T) {
	b := newBench(t)
	p := subPathPod("a/b", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	b.prepare(p)
	m := b.mounts(p, 0)["/v"]
	if m.HostPath != b.path("volume-subpaths", "app", "0") {
		t.Errorf("mount %+v", m)
	}
	if got := b.mode(b.path("volumes", "v", "a", "b")) + b.mode(b.path("volumes", "v", "a")); got != "drwxrwxrwxdrwxrwxrwx" {
		t.Errorf("modes %s", got)
	}
	_ = os.WriteFile(b.path("volumes", "v", "a", "b", "file"), []byte("x"), 0o600)
	if b.content(filepath.Join(m.HostPath, "file")) != "x" {
		t.Error("another directory is mounted")
	}
	b.mounts(p, 1) // again, without another mount on top
	if err := unix.Unmount(m.HostPath, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(m.HostPath, 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("it is mounted twice: %v", err)
	}
	b.mounts(p, 2)
	b.removed(p)
}

// A directory that is made for a subPath has the mode of its volume, which in
// memory is sticky, and the group of the pod.
func TestSubPathInMemory(t *testing.T) {
	b := newBench(t)
	p := subPathPod("a", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}})
	p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(123))}
	b.prepare(p)
	m := b.mounts(p, 0)["/v"]
	if got := b.mode(m.HostPath); got != "dgtrwxrwxrwx" {
		t.Errorf("mode %s", got)
	}
	if err := unix.Unmount(m.HostPath, 0); err != nil {
		t.Fatal(err)
	}
	b.removed(p)
}

// TestSubPathOfConfigMap mounts one key, and its newer content for an attempt
// that comes after a change.
func TestSubPathOfConfigMap(t *testing.T) {
	b := newBench(t)
	b.o.configMaps["c"] = &corev1.ConfigMap{Data: map[string]string{"a": "1"}}
	p := volumePod(configMapVolume("v", "c"))
	p.Spec.Containers[0].VolumeMounts[0].SubPath = "a"
	b.prepare(p)
	m := b.mounts(p, 0)["/v"]
	if b.content(m.HostPath) != "1" || !m.ReadOnly {
		t.Errorf("mount %+v", m)
	}
	b.o.configMaps["c"] = &corev1.ConfigMap{Data: map[string]string{"a": "2"}}
	b.prepare(p)
	if got := b.content(m.HostPath); got != "1" {
		t.Errorf("a subPath changes while it is mounted: %q", got)
	}
	if got := b.content(b.mounts(p, 1)["/v"].HostPath); got != "2" {
		t.Errorf("the next attempt sees %q", got)
	}
	b.removed(p)
}

func TestSubPathStaysInside(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	_ = os.Mkdir(outside, 0o700)
	for i, sub := range []string{"abs", "up", "abs/deeper", "up/deeper", "../x", "a/../../x", "/abs", "loop", "proc"} {
		p := subPathPod(sub, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
		b.prepare(p)
		if i == 0 {
			dir := b.path("volumes", "v")
			_ = os.Symlink(outside, filepath.Join(dir, "abs"))
			_ = os.Symlink("../../../..", filepath.Join(dir, "up"))
			_ = os.Symlink("loop", filepath.Join(dir, "loop"))
			_ = os.Symlink("/proc/self/root", filepath.Join(dir, "proc"))
			_ = os.Symlink("inner/../real", filepath.Join(dir, "fine"))
			_ = os.MkdirAll(filepath.Join(dir, "inner"), 0o700)
		}
		_, err := b.m.Mounts(t.Context(), p, "app", 0)
		if !errors.Is(err, pod.ErrConfig) || !strings.Contains(err.Error(), `failed to prepare subPath for volumeMount "v" of container "app"`) {
			t.Errorf("%s: %v", sub, err)
		}
	}
	if e, _ := os.ReadDir(outside); len(e) != 0 {
		t.Errorf("made outside: %v", e)
	}
	_ = os.Mkdir(b.path("volumes", "v", "real"), 0o700)
	b.mounts(subPathPod("fine", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}), 0)
}

// TestSubPathRace exchanges a directory with a link out of the volume all the
// time, as a hostile container would, while subPaths are mounted.
func TestSubPathRace(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.dir, "outside")
	_ = os.MkdirAll(filepath.Join(outside, "sub"), 0o700)
	_ = os.WriteFile(filepath.Join(outside, "sub", "secret"), nil, 0o600)
	p := subPathPod("swap/sub", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})
	b.prepare(p)
	dir := b.path("volumes", "v")
	_ = os.MkdirAll(filepath.Join(dir, "swap", "sub"), 0o700)
	_ = os.Symlink(outside, filepath.Join(dir, "link"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = unix.Renameat2(unix.AT_FDCWD, dir+"/swap", unix.AT_FDCWD, dir+"/link", unix.RENAME_EXCHANGE)
		}
	}()
	mounted := 0
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		list, err := b.m.Mounts(t.Context(), p, "app", 0)
		if err != nil {
			continue // caught outside, or an odd moment
		}
		mounted++
		for _, m := range list {
			if _, err := os.Stat(filepath.Join(m.HostPath, "secret")); err == nil {
				t.Fatal("the outside is mounted")
			}
		}
		_ = unmount(b.path("volume-subpaths", "app", "0"))
	}
	cancel()
	<-done
	if mounted == 0 {
		t.Error("nothing was ever mounted")
	}
	if e, _ := os.ReadDir(outside); len(e) != 1 {
		t.Errorf("made outside: %v", e)
	}
	b.removed(p)
}

// TestRemoveSpares: what a hostPath names survives, even where it is mounted in
// the pod's directory and cannot be unmounted first.
func TestRemoveSpares(t *testing.T) {
	b := newBench(t)
	host := filepath.Join(b.dir, "host")
	_ = os.MkdirAll(filepath.Join(host, "sub"), 0o700)
	precious := filepath.Join(host, "sub", "precious")
	_ = os.WriteFile(precious, nil, 0o600)
	p := subPathPod("sub", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}})
	b.prepare(p)
	target := b.mounts(p, 0)["/v"].HostPath
	if err := os.Symlink(host, b.path("link")); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(t.Context(), b.path()); !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing across a mount: %v", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
	// One in use is taken out of sight.
	busy, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	b.removed(p)
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
}

// TestRemoveIsCompleted: a removal that ended anywhere is completed, also when
// the pod's directory was made anew since.
func TestRemoveIsCompleted(t *testing.T) {
	b := newBench(t)
	p := volumePod(vol("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}))
	b.prepare(p)
	if err := os.Rename(b.path(), b.m.removing(p.UID)); err != nil {
		t.Fatal(err)
	}
	b.prepare(p)
	b.removed(p)
	b.prepare(p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.m.Remove(ctx, p.UID); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if uids, err := b.m.UIDs(); len(uids) != 1 || err != nil {
		t.Errorf("%v %v", uids, err)
	}
	b.removed(p)
}

func TestRemoveDeepAndWide(t *testing.T) {
	b := newBench(t)
	p := volumePod(vol("v", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}))
	b.prepare(p)
	root, err := os.OpenRoot(b.path("volumes", "v"))
	if err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if err := root.Mkdir("d", 0); err != nil {
			t.Fatal(err)
		}
		_ = root.WriteFile("f", nil, 0o600)
		next, err := root.OpenRoot("d")
		_ = root.Close()
		if err != nil {
			t.Fatal(err)
		}
		root = next
	}
	_ = root.Close()
	for i := range 600 {
		_ = os.WriteFile(b.path("volumes", "v", strings.Repeat("x", 1+i/100)+string(rune('a'+i%26))+strings.Repeat("y", i%100)), nil, 0)
	}
	if _, err := usage(t.Context(), b.path("volumes", "v")); err == nil {
		t.Error("no end is seen of measuring")
	}
	b.removed(p)
}
