package podtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/carob-project/carob/pkg/pod"
)

// Images is a fake of pod.Images: a store, and a registry to pull from.
type Images struct {
	// Faults script "Images.Present" and "Images.Pull".
	Faults *Faults

	mu       sync.Mutex
	present  map[string]pod.Image
	registry map[string]pod.Image
}

// NewImages returns an empty store whose registry offers these references.
func NewImages(f *Faults, registry ...string) *Images {
	i := &Images{Faults: f, present: map[string]pod.Image{}, registry: map[string]pod.Image{}}
	for _, ref := range registry {
		i.registry[ref] = pod.Image{Name: ref, ID: ref + "@sha256:1234", Size: 1 << 20}
	}
	return i
}

// Present implements pod.Images.
func (i *Images) Present(ctx context.Context, ref string) (img pod.Image, found bool, err error) {
	err = i.Faults.run(ctx, "Images.Present", func() error {
		i.mu.Lock()
		defer i.mu.Unlock()
		img, found = i.present[ref]
		return nil
	})
	return img, found, err
}

// Pull implements pod.Images.
func (i *Images) Pull(ctx context.Context, ref string, o pod.PullOptions) (img pod.Image, err error) {
	err = i.Faults.run(ctx, "Images.Pull", func() error {
		if ref == "" || ref != strings.ToLower(ref) || strings.Contains(ref, "::") {
			return fmt.Errorf("%w: %q", pod.ErrImageName, ref)
		}
		if o.Progress != nil {
			o.Progress("pulling " + ref)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		var offered bool
		if img, offered = i.registry[ref]; !offered {
			return fmt.Errorf("image %s: %w", ref, pod.ErrNotFound)
		}
		i.present[ref] = img
		return nil
	})
	return img, err
}

// Offer puts an image into the registry.
func (i *Images) Offer(ref string, img pod.Image) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.registry[ref] = img
}

// Drop removes an image from the store.
func (i *Images) Drop(ref string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.present, ref)
}

// ListImages returns what the store holds.
func (i *Images) ListImages(context.Context) ([]pod.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var l []pod.Image
	for _, ref := range slices.Sorted(maps.Keys(i.present)) {
		l = append(l, i.present[ref])
	}
	return l, nil
}
