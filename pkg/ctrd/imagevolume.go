package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/go-digest"
	"k8s.io/apimachinery/pkg/types"
)

// labelRoot keeps a snapshot, and what it stands on, from containerd's garbage
// collection.
const labelRoot = "containerd.io/gc.root"

// MountImage mounts what is in an image, read-only, at a place below dir that
// exists already, and returns the place. The image has to be present. Called
// again for the same pod and content it returns the same place. What it mounts
// is the caller's to unmount, before RemoveImages.
//
// The place comes before the view of the image, so that whoever finds no dir
// knows that there is none; the view is found by the pod's UID.
func (r *Runtime) MountImage(ctx context.Context, uid types.UID, ref, dir string) (string, error) {
	ctx = r.scoped(ctx)
	img, err := r.mustImage(ctx, ref)
	if err != nil {
		return "", err
	}
	content := digest.FromString(img.chainID).Encoded()[:16]
	key := "carob-volume-" + string(uid) + "-" + content
	unlock, err := r.ids.lock(ctx, key)
	if err != nil {
		return "", err
	}
	defer unlock()
	target := filepath.Join(dir, content)
	if mounted, err := mountinfo.Mounted(target); err == nil && mounted {
		return target, nil
	}
	if err := os.Mkdir(target, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	sn := r.client.SnapshotService(img.snapshotter)
	mounts, err := sn.View(ctx, key, img.chainID, snapshots.WithLabels(map[string]string{
		labelInstance: r.opts.Instance, labelUID: string(uid), labelImage: img.Name,
		labelRoot: now().UTC().Format(time.RFC3339),
	}))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = sn.Mounts(ctx, key)
	}
	if err != nil {
		r.images.forget(img.Name)
		return "", fmt.Errorf("view of image %s: %w", ref, native(err))
	}
	if err := mount.All(mounts, target); err != nil {
		return "", errors.Join(fmt.Errorf("mounting image %s: %w", ref, err), mount.UnmountAll(target, 0))
	}
	return target, nil
}

// RemoveImages removes what MountImage made for a pod, but not the mounts.
func (r *Runtime) RemoveImages(ctx context.Context, uid types.UID) error {
	ctx = r.scoped(ctx)
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		return err
	}
	var keys []string
	err = sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if isView(info) && info.Labels[labelInstance] == r.opts.Instance {
			keys = append(keys, info.Name)
		}
		return nil
	}, fmt.Sprintf("labels.%s==%s", strconv.Quote(labelUID), strconv.Quote(string(uid))))
	if err != nil {
		return fmt.Errorf("list snapshots: %w", native(err))
	}
	var errs []error
	for _, key := range keys {
		errs = append(errs, removeSnapshot(ctx, sn, key))
	}
	return errors.Join(errs...)
}

// isView says whether a snapshot is an image's that a volume shows.
func isView(info snapshots.Info) bool {
	return info.Kind == snapshots.KindView && strings.HasPrefix(info.Name, "carob-volume-")
}

// viewedImages are the names of the images that volumes, of whichever instance,
// show.
func (r *Runtime) viewedImages(ctx context.Context) (map[string]bool, error) {
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	err = sn.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if isView(info) {
			names[info.Labels[labelImage]] = true
		}
		return nil
	}, "labels."+strconv.Quote(labelImage))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", native(err))
	}
	return names, nil
}
