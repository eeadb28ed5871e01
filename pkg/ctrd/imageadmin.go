package ctrd

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/carob-project/carob/pkg/pod"
)

// ListImages returns the images of the namespace that this machine can run, in
// containerd's order.
func (r *Runtime) ListImages(ctx context.Context) ([]pod.Image, error) {
	ctx = r.scoped(ctx)
	stored, err := r.client.ImageService().List(ctx)
	if err != nil {
		return nil, native(err)
	}
	all := make([]pod.Image, 0, len(stored))
	for _, s := range stored {
		if cached, _ := r.images.get(s.Name); cached != nil && r.state.isReady() {
			all = append(all, cached.Image)
			continue
		}
		named, err := normalize(s.Name)
		if err != nil {
			continue
		}
		manifest, _, err := readConfig(ctx, r.client.ContentStore(), s.Target)
		if errors.Is(err, pod.ErrUnavailable) {
			return nil, err
		}
		if err != nil {
			// Half there, or another machine's: not ours to use.
			continue
		}
		all = append(all, pod.Image{
			Name: s.Name,
			ID:   imageID(named, s, manifest),
			Size: manifestSize(s.Target, manifest),
		})
	}
	return all, nil
}

// RemoveImage removes the image a reference names. It is refused with
// ErrImageInUse while a container, of whichever instance, was made from it or a
// volume shows it; an unknown image is pod.ErrNotFound.
func (r *Runtime) RemoveImage(ctx context.Context, ref string) error {
	ctx = r.scoped(ctx)
	named, err := normalize(ref)
	if err != nil {
		return err
	}
	stored, err := r.findImage(ctx, named)
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	return r.removeImage(ctx, stored.Name)
}

func (r *Runtime) removeImage(ctx context.Context, name string) error {
	users, err := r.containers().List(ctx, "image=="+strconv.Quote(name))
	if err != nil {
		return native(err)
	}
	viewed, err := r.viewedImages(ctx)
	if err != nil {
		return err
	}
	if len(users) > 0 || viewed[name] || r.state.usesImage(name) {
		return fmt.Errorf("image %s: %w", name, ErrImageInUse)
	}
	if err := orGone(r.client.ImageService().Delete(ctx, name, images.SynchronousDelete())); err != nil {
		return fmt.Errorf("remove image %s: %w", name, err)
	}
	r.images.forget(name)
	return nil
}
