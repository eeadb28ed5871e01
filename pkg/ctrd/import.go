package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// ErrNoImageName is wrapped where an archive holds an image without a name.
var ErrNoImageName = errors.New("the archive names no image; give it a tag before it is saved")

// Import reads a docker or OCI archive, uncompressed, and stores its images
// under the names it gives them, unpacked. All of them are checked before the
// first is stored: one for another platform (pod.ErrImagePlatform) or without a
// name (ErrNoImageName) refuses the archive. progress may be nil.
func (r *Runtime) Import(ctx context.Context, from io.Reader, progress func(string)) ([]pod.Image, error) {
	ctx = r.scoped(ctx)
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return nil, err
	}
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var read atomic.Int64
	if progress != nil {
		stop := report(ctx, progress, func() string { return bytesText(read.Load()) + " read" })
		defer stop()
	}
	store := r.client.ContentStore()
	counted := &countingReader{ReadCloser: io.NopCloser(from), add: func(n int) { read.Add(int64(n)) }}
	target, err := archive.ImportIndex(ctx, store, onlyReader{counted})
	if err != nil {
		return nil, fmt.Errorf("import: %w", native(err))
	}
	found, err := r.archived(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	var stored []pod.Image
	for _, img := range found {
		info, err := r.keep(ctx, img, snapshotter)
		if err != nil {
			return stored, fmt.Errorf("import %s: %w", img.Name, err)
		}
		stored = append(stored, info)
	}
	return stored, nil
}

// onlyReader hides that a reader might seek.
type onlyReader struct{ io.Reader }

// archived lists an archive's images by their normalised names, after all of
// them were found fit for this machine.
func (r *Runtime) archived(ctx context.Context, target ocispec.Descriptor) ([]images.Image, error) {
	var index ocispec.Index
	store := r.client.ContentStore()
	if err := readJSON(ctx, store, target, &index); err != nil {
		return nil, err
	}
	var found []images.Image
	for _, m := range index.Manifests {
		name, err := archivedName(m.Annotations)
		if err != nil {
			return nil, err
		}
		if _, _, err := readConfig(ctx, store, m); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found = append(found, images.Image{Name: name, Target: m, Labels: map[string]string{
			labelInstance: r.opts.Instance, labelImported: "true",
		}})
	}
	if len(found) == 0 {
		return nil, ErrNoImageName
	}
	return found, nil
}

// archivedName is the normalised name an archive gives an image. The OCI
// annotation may be a bare tag, which names nothing.
func archivedName(annotations map[string]string) (string, error) {
	name := annotations[images.AnnotationImageName]
	if ref := annotations[ocispec.AnnotationRefName]; name == "" && strings.ContainsAny(ref, "/:") {
		name = ref
	}
	if name == "" {
		return "", ErrNoImageName
	}
	named, err := normalize(name)
	if err != nil {
		return "", err
	}
	return named.String(), nil
}

// keep ties an image's parts together for containerd's garbage collection,
// unpacks it and stores its name, in this order, so that a name that exists is
// one that can be used.
func (r *Runtime) keep(ctx context.Context, img images.Image, snapshotter string) (pod.Image, error) {
	store := r.client.ContentStore()
	children := images.SetChildrenLabels(store, images.FilterPlatforms(images.ChildrenHandler(store), platforms.Default()))
	if err := images.Walk(ctx, children, img.Target); err != nil {
		return pod.Image{}, native(err)
	}
	if err := containerd.NewImage(r.client, img).Unpack(ctx, snapshotter); err != nil {
		return pod.Image{}, fmt.Errorf("unpack: %w", native(err))
	}
	names := r.client.ImageService()
	if _, err := names.Create(ctx, img); errdefs.IsAlreadyExists(err) {
		_, err = names.Update(ctx, img)
		if err != nil {
			return pod.Image{}, native(err)
		}
	} else if err != nil {
		return pod.Image{}, native(err)
	}
	r.images.forget(img.Name)
	info, err := r.image(ctx, img.Name)
	if err != nil {
		return pod.Image{}, err
	}
	return info.Image, nil
}
