package ctrd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// An image that a volume shows stays, over restarts of carob and of the
// machine, until the pod is gone.
func TestImageVolumes(t *testing.T) {
	for name, users := range map[string]pod.IDRange{"the node's users": {}, "own users": {First: 131072, Size: 65536}} {
		t.Run(name, func(t *testing.T) { imageVolumes(t, users) })
	}
}

func imageVolumes(t *testing.T, users pod.IDRange) {
	b := newBench(t)
	r := b.ready(t)
	reg := newRegistry(t)
	ref := reg.push(t, "one/data:1", buildImage(t, func(c *v1.ConfigFile) { c.Author = "data" }))
	if _, err := r.Pull(t.Context(), ref, pod.PullOptions{}); err != nil {
		t.Fatal(err)
	}
	uid, dir := newUID(), t.TempDir()
	if _, err := r.MountImage(t.Context(), uid, "example.test/none:1", dir, pod.IDRange{}); !errors.Is(err, pod.ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
	mount := func(r *Runtime) string {
		t.Helper()
		path, err := r.MountImage(t.Context(), uid, ref, dir, users)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(path, "bin"), &st); err != nil || st.Uid != users.First {
			t.Errorf("the image's files: %v, of user %d", err, st.Uid)
		}
		return path
	}
	path := mount(r)
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(path, "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing into an image: %v", err)
	}
	// The next carob, after the machine has lost its mounts.
	r = b.connect(t)
	if err := r.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again := mount(r); again != path {
			t.Errorf("mounted at %s and %s", path, again)
		}
		if err := unix.Unmount(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.RemoveImage(t.Context(), ref); !errors.Is(err, ErrImageInUse) {
		t.Errorf("removing an image that a volume shows: %v", err)
	}
	for _, want := range []bool{true, false} {
		stored, err := r.StoredImages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range stored {
			if i.Name == ref && i.InUse != want {
				t.Errorf("in use: %v, want %v", i.InUse, want)
			}
		}
		if err := r.RemoveImages(t.Context(), uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.RemoveImage(t.Context(), ref); err != nil {
		t.Error(err)
	}
	sn, _, err := r.snapshots(r.scoped(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	err = sn.Walk(r.scoped(t.Context()), func(_ context.Context, info snapshots.Info) error {
		if isView(info) {
			t.Errorf("left: %s", info.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
