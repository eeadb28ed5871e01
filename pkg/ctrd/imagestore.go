package ctrd

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/eviction"
)

const (
	labelLastUsed = labelPrefix + "last-used"
	// labelPinned is what containerd's own plugins put on images to keep.
	labelPinned, pinned = "io.cri-containerd.pinned", "pinned"
	// useGrain is how exactly the last use is written down: each note is a
	// write to containerd's database.
	useGrain = 10 * time.Minute
)

// StoredImages lists the images of the namespace for their collection, and
// notes down, in labels, which of them are used now.
func (r *Runtime) StoredImages(ctx context.Context) ([]eviction.StoredImage, error) {
	ctx = r.scoped(ctx)
	stored, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	used, err := r.usedImages(ctx, stored)
	if err != nil {
		return nil, err
	}
	at := now()
	all := make([]eviction.StoredImage, 0, len(stored))
	for _, s := range stored {
		i := eviction.StoredImage{
			Name: s.Name, Created: s.CreatedAt, InUse: used[s.Target.Digest],
			Kept: s.Labels[labelInstance] != r.opts.Instance || s.Labels[labelImported] == "true" || s.Labels[labelPinned] == pinned,
		}
		i.LastUsed, _ = time.Parse(time.RFC3339, s.Labels[labelLastUsed]) // zero where nothing is noted
		if i.InUse && !i.Kept && at.Sub(i.LastUsed) > useGrain {
			r.noteUse(ctx, s, at)
			i.LastUsed = at
		}
		// What cannot be read is half there: its size is nothing.
		if manifest, _, err := readConfig(ctx, r.client.ContentStore(), s.Target); err == nil {
			i.Size = manifestSize(s.Target, manifest)
		}
		all = append(all, i)
	}
	return all, nil
}

// usedImages are those that a container of whichever instance was made from, or
// that a volume shows, under any of their names.
func (r *Runtime) usedImages(ctx context.Context, stored []images.Image) (map[digest.Digest]bool, error) {
	containers, err := r.containers().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	names, err := r.viewedImages(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		names[c.Image] = true
	}
	used := map[digest.Digest]bool{}
	for _, s := range stored {
		if names[s.Name] || r.state.usesImage(s.Name) {
			used[s.Target.Digest] = true
		}
	}
	return used, nil
}

func (r *Runtime) noteUse(ctx context.Context, s images.Image, at time.Time) {
	s.Labels = map[string]string{labelLastUsed: at.Format(time.RFC3339)}
	if _, err := r.client.ImageService().Update(ctx, s, "labels."+labelLastUsed); err != nil {
		r.log.Debug("the use of an image cannot be noted", zap.String("image", s.Name), zap.Error(native(err)))
	}
}

// ImageRoot is the directory of the snapshotter: images and what containers
// write lie there. It is empty where containerd does not tell.
func (r *Runtime) ImageRoot(ctx context.Context) (string, error) {
	if root := r.imageRoot.Load(); root != nil {
		return *root, nil
	}
	name, err := r.snapshotterName(ctx)
	if err != nil {
		return "", err
	}
	resp, err := r.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+name)
	if err != nil {
		return "", fmt.Errorf("the directory of snapshots: %w", native(err))
	}
	root := ""
	for _, p := range resp.Plugins {
		if r := p.Exports["root"]; r != "" {
			root = r
		}
	}
	r.imageRoot.Store(&root)
	return root, nil
}
