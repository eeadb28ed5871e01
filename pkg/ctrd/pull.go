package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	progressPeriod = time.Second
	leaseExpiry    = 24 * time.Hour
)

// Pull pulls and unpacks an image from its registry, also when it is present;
// see pod.Images. Callers that pull the same image at the same time share one
// pull.
func (r *Runtime) Pull(ctx context.Context, ref string, progress func(string)) (pod.Image, error) {
	named, err := normalize(ref)
	if err != nil {
		return pod.Image{}, err
	}
	name := named.String()
	return r.pulls.do(r.scoped(ctx), name, progress, func(ctx context.Context, tell func(string)) (pod.Image, error) {
		img, err := r.pull(ctx, named, tell)
		if err != nil {
			return pod.Image{}, fmt.Errorf("pull %s: %w", name, err)
		}
		return img, nil
	})
}

func (r *Runtime) pull(ctx context.Context, named reference.Named, tell func(string)) (pod.Image, error) {
	if err := r.limit.Acquire(ctx, 1); err != nil {
		return pod.Image{}, err
	}
	defer r.limit.Release(1)
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return pod.Image{}, err
	}
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return pod.Image{}, err
	}
	defer done()
	counter := &countingResolver{Resolver: newResolver()}
	total, err := r.fetchHead(ctx, counter, named.String())
	if err != nil {
		return pod.Image{}, err
	}
	stop := report(ctx, tell, func() string { return progressText(counter.read.Load(), total) })
	defer stop()
	// The small parts are in the store by now and are not fetched again.
	_, err = r.client.Pull(ctx, named.String(),
		containerd.WithResolver(counter),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithPlatformMatcher(platforms.Default()),
		containerd.WithPullLabels(map[string]string{labelInstance: r.opts.Instance}))
	if err != nil {
		return pod.Image{}, native(err)
	}
	r.images.forget(named.String())
	info, err := r.image(ctx, named.String())
	if err != nil {
		return pod.Image{}, err
	}
	return info.Image, nil
}

// newResolver speaks to registries as Docker does; to those on this machine
// without TLS.
func newResolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
}

// fetchHead fetches index, manifest and configuration, refuses what is for
// another platform before its layers are fetched, and returns the size of the
// layers.
func (r *Runtime) fetchHead(ctx context.Context, resolver remotes.Resolver, name string) (int64, error) {
	resolved, target, err := resolver.Resolve(ctx, name)
	if err != nil {
		return 0, native(err)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		return 0, native(err)
	}
	store := r.client.ContentStore()
	children := images.LimitManifests(images.FilterPlatforms(images.ChildrenHandler(store), platforms.Default()), platforms.Default(), 1)
	small := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if images.IsIndexType(desc.MediaType) {
			return children(ctx, desc)
		}
		all, err := children(ctx, desc)
		var heads []ocispec.Descriptor
		for _, d := range all {
			if !images.IsLayerType(d.MediaType) {
				heads = append(heads, d)
			}
		}
		return heads, err
	}
	check := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return nil, checkIndex(ctx, store, desc)
	}
	handlers := images.Handlers(remotes.FetchHandler(store, fetcher), images.HandlerFunc(check), images.HandlerFunc(small))
	if err := images.Dispatch(ctx, handlers, nil, target); err != nil {
		return 0, native(err)
	}
	manifest, _, err := readConfig(ctx, store, target)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, l := range manifest.Layers {
		total += l.Size
	}
	return total, nil
}

// countingResolver counts the bytes that its fetchers read.
type countingResolver struct {
	remotes.Resolver
	read atomic.Int64
}

func (c *countingResolver) Fetcher(ctx context.Context, ref string) (remotes.Fetcher, error) {
	f, err := c.Resolver.Fetcher(ctx, ref)
	if err != nil {
		return nil, err
	}
	return remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		rc, err := f.Fetch(ctx, desc)
		if err != nil || !images.IsLayerType(desc.MediaType) {
			return rc, err
		}
		return &countingReader{ReadCloser: rc, to: &c.read}, nil
	}), nil
}

type countingReader struct {
	io.ReadCloser
	to *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.to.Add(int64(n))
	return n, err
}

var errNoSeek = errors.New("stream cannot seek")

// Seek lets a broken-off download be resumed where the registry can do that.
func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errNoSeek
	}
	return s.Seek(offset, whence)
}

// report calls tell with a new text at most once a second, until stop is
// called.
func report(ctx context.Context, tell func(string), text func() string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(progressPeriod)
		defer tick.Stop()
		for last := ""; ; {
			if t := text(); t != last {
				tell(t)
				last = t
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func progressText(read, total int64) string {
	if read >= total {
		return "unpacking " + bytesText(total)
	}
	return bytesText(read) + " of " + bytesText(total)
}

func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, "KiB"
	for _, s := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
