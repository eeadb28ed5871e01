package ctrd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/pkg/pod"
)

// imageInfo is all that making a container takes from an image, so that it is
// asked of containerd once and not for every container.
type imageInfo struct {
	pod.Image
	config      ocispec.ImageConfig
	chainID     string
	snapshotter string
	// user is the image's USER, resolved with its own /etc/passwd.
	user specs.User
	// users are others that pods asked for, as specs.User by name.
	users sync.Map
}

// imageCache holds what is known about images by normalised name. Events of
// containerd empty it.
type imageCache struct {
	mu     sync.Mutex
	byName map[string]*imageInfo
	// epoch counts the forgettings: what was read before one is not stored
	// after it.
	epoch uint64
}

func newImageCache() *imageCache { return &imageCache{byName: map[string]*imageInfo{}} }

func (c *imageCache) get(name string) (info *imageInfo, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byName[name], c.epoch
}

func (c *imageCache) put(name string, info *imageInfo, epoch uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.byName[name] = info
	}
}

// forget drops one image, and all that were found by a digest, as they may
// rest on the same record.
func (c *imageCache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.byName, name)
	for n := range c.byName {
		if strings.Contains(n, "@") {
			delete(c.byName, n)
		}
	}
}

func (c *imageCache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.byName)
}

// Present returns the image that a reference names, if it is on the node and
// unpacked; see pod.Images. One that is whole but not unpacked is unpacked.
func (r *Runtime) Present(ctx context.Context, ref string) (pod.Image, bool, error) {
	info, err := r.image(r.scoped(ctx), ref)
	if errors.Is(err, pod.ErrNotFound) {
		return pod.Image{}, false, nil
	}
	if err != nil {
		return pod.Image{}, false, err
	}
	return info.Image, true, nil
}

// mustImage is image for a caller to whom a missing image is an error to show.
func (r *Runtime) mustImage(ctx context.Context, ref string) (*imageInfo, error) {
	info, err := r.image(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	return info, nil
}

// image returns what is known about an image; the error wraps pod.ErrNotFound
// where it is not present.
func (r *Runtime) image(ctx context.Context, ref string) (*imageInfo, error) {
	named, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	name := named.String()
	cached, epoch := r.images.get(name)
	// Without the subscription nobody would tell that the cache is outdated.
	if cached != nil && r.state.isReady() {
		return cached, nil
	}
	stored, err := r.findImage(ctx, named)
	if err != nil {
		return nil, err
	}
	info, err := r.readImage(ctx, named, stored)
	if err != nil {
		return nil, err
	}
	r.images.put(name, info, epoch)
	return info, nil
}

// findImage looks a reference up. A digest is also looked for among the images
// of the same repository that were stored under a tag.
func (r *Runtime) findImage(ctx context.Context, named reference.Named) (images.Image, error) {
	store := r.client.ImageService()
	img, err := store.Get(ctx, named.String())
	if err == nil {
		return img, nil
	}
	err = native(err)
	digested, ok := named.(reference.Digested)
	if !ok || !errors.Is(err, pod.ErrNotFound) {
		return images.Image{}, err
	}
	same, lerr := store.List(ctx, "target.digest=="+digested.Digest().String())
	if lerr != nil {
		return images.Image{}, native(lerr)
	}
	for _, img := range same {
		if other, perr := reference.ParseNormalizedNamed(img.Name); perr == nil && other.Name() == named.Name() {
			return img, nil
		}
	}
	return images.Image{}, err
}

// readImage reads manifest and configuration of a stored image and makes sure
// that it is unpacked.
func (r *Runtime) readImage(ctx context.Context, named reference.Named, stored images.Image) (*imageInfo, error) {
	sn, snName, err := r.snapshots(ctx)
	if err != nil {
		return nil, err
	}
	store := r.client.ContentStore()
	manifest, config, err := readConfig(ctx, store, stored.Target)
	if err != nil {
		return nil, err
	}
	info := &imageInfo{
		Image:       pod.Image{Name: named.String(), Size: manifestSize(stored.Target, manifest), Keys: stored.Labels[labelKeys]},
		config:      config.Config,
		chainID:     identity.ChainID(config.RootFS.DiffIDs).String(),
		snapshotter: snName,
	}
	info.ID = imageID(named, stored, manifest)
	if _, err := sn.Stat(ctx, info.chainID); err != nil {
		if err = native(err); !errors.Is(err, pod.ErrNotFound) {
			return nil, err
		}
		if err := native(containerd.NewImage(r.client, stored).Unpack(ctx, snName)); err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
	}
	if info.user, err = r.resolveUser(ctx, info, userName(info.config.User, &pod.Security{})); err != nil {
		return nil, err
	}
	return info, nil
}

// imageID is the repository digest of an image that came from a registry, else
// the digest of its configuration.
func imageID(named reference.Named, stored images.Image, manifest ocispec.Manifest) string {
	if stored.Labels[labelImported] == "true" {
		return manifest.Config.Digest.String()
	}
	return named.Name() + "@" + stored.Target.Digest.String()
}

func manifestSize(target ocispec.Descriptor, m ocispec.Manifest) int64 {
	size := target.Size + m.Config.Size
	for _, l := range m.Layers {
		size += l.Size
	}
	return size
}

// readConfig returns manifest and configuration for this machine's platform.
// The error wraps pod.ErrImagePlatform where the image has none, and
// pod.ErrNotFound where a part of it is missing in the store.
func readConfig(ctx context.Context, store content.Provider, target ocispec.Descriptor) (ocispec.Manifest, ocispec.Image, error) {
	var config ocispec.Image
	if err := checkIndex(ctx, store, target); err != nil {
		return ocispec.Manifest{}, config, err
	}
	manifest, err := images.Manifest(ctx, store, target, platforms.Default())
	if err != nil {
		return manifest, config, native(err)
	}
	if err := readJSON(ctx, store, manifest.Config, &config); err != nil {
		return manifest, config, err
	}
	// Old tools leave the platform out; that is taken as ours.
	if config.OS != "" && config.Architecture != "" && !platforms.Default().Match(platforms.Normalize(config.Platform)) {
		return manifest, config, wrongPlatform(platforms.Format(config.Platform))
	}
	return manifest, config, nil
}

// checkIndex tells an index without our platform from one that is incomplete.
func checkIndex(ctx context.Context, store content.Provider, target ocispec.Descriptor) error {
	if !images.IsIndexType(target.MediaType) {
		return nil
	}
	var index ocispec.Index
	if err := readJSON(ctx, store, target, &index); err != nil {
		return err
	}
	var offered []string
	for _, m := range index.Manifests {
		if m.Platform == nil || platforms.Default().Match(*m.Platform) {
			return nil
		}
		offered = append(offered, platforms.Format(*m.Platform))
	}
	return wrongPlatform(strings.Join(offered, ", "))
}

func wrongPlatform(offered string) error {
	return fmt.Errorf("%w: it is for %s, this machine is %s", pod.ErrImagePlatform, offered, platforms.Format(platforms.DefaultSpec()))
}

func readJSON(ctx context.Context, store content.Provider, desc ocispec.Descriptor, to any) error {
	blob, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return native(err)
	}
	if err := json.Unmarshal(blob, to); err != nil {
		return fmt.Errorf("image: %s: %w", desc.Digest, err)
	}
	return nil
}

// resolveUser finds the IDs of a user in the image's own files, through a view
// of it that exists for this moment only.
func (r *Runtime) resolveUser(ctx context.Context, info *imageInfo, name string) (specs.User, error) {
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return specs.User{}, err
	}
	defer done()
	sn := r.client.SnapshotService(info.snapshotter)
	key := "carob-user-" + leaseOf(ctx)
	if _, err := sn.View(ctx, key, info.chainID); err != nil {
		return specs.User{}, fmt.Errorf("view image: %w", native(err))
	}
	defer func() {
		undo, cancel := outlive(ctx)
		defer cancel()
		// The lease's end makes it garbage anyhow.
		_ = sn.Remove(undo, key)
	}()
	who, _, _ := strings.Cut(name, ":")
	s := &specs.Spec{Root: &specs.Root{}, Process: &specs.Process{}, Linux: &specs.Linux{}}
	c := &containers.Container{Snapshotter: info.snapshotter, SnapshotKey: key}
	if err := oci.ApplyOpts(ctx, r.client, c, s, oci.WithUser(name), withGroupsOf(who)); err != nil {
		if errdefs.IsUnavailable(err) {
			return specs.User{}, native(err)
		}
		return specs.User{}, fmt.Errorf("%w: user %s of the image: %w", pod.ErrConfig, strconv.Quote(name), err)
	}
	return s.Process.User, nil
}

func withGroupsOf(user string) oci.SpecOpts { return oci.WithAdditionalGIDs(user) }

// lease protects what is made under the returned context from containerd's
// garbage collection until done is called, or for a day.
func (r *Runtime) lease(ctx context.Context) (_ context.Context, done func(), err error) {
	l, err := r.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseExpiry),
		leases.WithLabel(labelInstance, r.opts.Instance))
	if err != nil {
		return ctx, nil, fmt.Errorf("lease: %w", native(err))
	}
	r.leaseMu.Lock()
	r.leases[l.ID] = struct{}{}
	r.leaseMu.Unlock()
	return leases.WithLease(ctx, l.ID), func() {
		undo, cancel := outlive(ctx)
		defer cancel()
		// What stays behind expires, and CleanUp removes it.
		_ = r.client.LeasesService().Delete(undo, l)
		r.leaseMu.Lock()
		defer r.leaseMu.Unlock()
		delete(r.leases, l.ID)
	}, nil
}

func leaseOf(ctx context.Context) string {
	id, _ := leases.FromContext(ctx)
	return id
}
