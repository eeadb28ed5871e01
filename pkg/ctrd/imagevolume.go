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

	"github.com/carob-project/carob/internal/osthread"
	"github.com/carob-project/carob/pkg/pod"
)

// labelRoot keeps a snapshot, and what it stands on, from containerd's garbage
// collection.
const labelRoot = "containerd.io/gc.root"

// MountImage mounts what is in an image, read-only, at a place below dir that
// exists already, and returns the place. The image has to be present. Called
// again for the same pod and content it returns the same place. What it mounts
// is the caller's to unmount, before RemoveImages. The files are shown with the
// IDs of the pod's users, and with an SELinux label that all containers may read.
//
// The place comes before the view of the image, so that whoever finds no dir
// knows that there is none; the view is found by the pod's UID.
func (r *Runtime) MountImage(ctx context.Context, uid types.UID, ref, dir string, users pod.IDRange) (string, error) {
	ctx = r.scoped(ctx)
	img, err := r.mustImage(ctx, ref)
	if err != nil {
		return "", err
	}
	content := digest.FromString(img.chainID).Encoded()[:16]
	if users.Mapped() {
		content += "-" + strconv.FormatUint(uint64(users.First), 10)
	}
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
	mounts, err := r.imageMounts(ctx, img, key, uid, users)
	if err != nil {
		r.images.forget(img.Name)
		return "", fmt.Errorf("view of image %s: %w", ref, native(err))
	}
	if r.host.contexts != nil {
		if mounts, err = labelled(ctx, mounts, r.host.contexts.ReadOnly); err != nil {
			return "", fmt.Errorf("view of image %s: %w", ref, err)
		}
	}
	// To map IDs the library starts a process.
	if err := osthread.Kept(func() error { return mount.All(mounts, target) }); err != nil {
		return "", errors.Join(fmt.Errorf("mounting image %s: %w", ref, err), mount.UnmountAll(target, 0))
	}
	return target, nil
}

// imageMounts returns how to mount the view of an image for a pod, which it
// makes where there is none yet.
func (r *Runtime) imageMounts(ctx context.Context, img *imageInfo, key string, uid types.UID, users pod.IDRange) ([]mount.Mount, error) {
	sn := r.client.SnapshotService(img.snapshotter)
	labels := map[string]string{
		labelInstance: r.opts.Instance, labelUID: string(uid), labelImage: img.Name,
		labelRoot: now().UTC().Format(time.RFC3339),
	}
	if !users.Mapped() {
		mounts, err := sn.View(ctx, key, img.chainID, snapshots.WithLabels(labels))
		if errdefs.IsAlreadyExists(err) {
			mounts, err = sn.Mounts(ctx, key)
		}
		return mounts, err
	}
	// Of the mounts only an overlay shows mapped IDs, and a view need not be
	// one; and what cannot show them has to change the files. One that is there
	// was not finished, or not mounted since the machine started.
	if err := removeSnapshot(ctx, sn, key); err != nil {
		return nil, err
	}
	mounts, err := r.prepareFor(ctx, img, key, labels, users)
	for i := range mounts {
		mounts[i].Options = append(mounts[i].Options, "ro")
	}
	return mounts, err
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
	return strings.HasPrefix(info.Name, "carob-volume-")
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
