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
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/sync/semaphore"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

const (
	progressPeriod = time.Second
	leaseExpiry    = 24 * time.Hour
)

// Pull pulls and unpacks an image from its registry, also when it is present;
// see pod.Images. Callers that pull the same image with the same credentials
// at the same time share one pull. A pull that makes no progress for
// StallTime is broken off.
func (r *Runtime) Pull(ctx context.Context, ref string, o pod.PullOptions) (pod.Image, error) {
	named, err := normalize(ref)
	if err != nil {
		return pod.Image{}, err
	}
	name := named.String()
	fit := append(matching(o.Credentials, named), matching(o.Provided, named)...)
	return r.pulls.Do(r.scoped(ctx), name+fingerprint(fit), o.Progress, func(ctx context.Context, tell func(string)) (pod.Image, error) {
		img, err := r.pull(ctx, named, fit, tell)
		if err != nil {
			return pod.Image{}, fmt.Errorf("failed to pull and unpack image %q: %w", name, err)
		}
		return img, nil
	})
}

func (r *Runtime) pull(ctx context.Context, named reference.Named, credentials []pod.Credential, tell func(string)) (pod.Image, error) {
	// A registry that is slow keeps those of others waiting not at all.
	limit, _ := r.limits.LoadOrStore(reference.Domain(named), semaphore.NewWeighted(r.opts.MaxPulls))
	turn := limit.(*semaphore.Weighted)
	_, taken := tracing.Begin(ctx, "await turn of the registry", tracing.Minor())
	err := turn.Acquire(ctx, 1)
	if taken(err); err != nil {
		return pod.Image{}, err
	}
	defer turn.Release(1)
	snapshotter, err := r.snapshotterName(ctx)
	if err != nil {
		return pod.Image{}, err
	}
	ctx, done, err := r.lease(ctx)
	if err != nil {
		return pod.Image{}, err
	}
	defer done()
	ctx, watch := guardProgress(ctx, r.opts.StallTime)
	defer watch.stop()
	resolver, used, err := r.resolve(ctx, named.String(), credentials)
	if err != nil {
		return pod.Image{}, watch.cause(err)
	}
	counter := &countingResolver{Resolver: resolver, moved: watch.moved, arrived: watch.rest}
	hctx, resolved := tracing.Begin(ctx, "resolve")
	target, total, err := r.fetchHead(hctx, counter, named.String())
	resolved(err)
	if err != nil {
		return pod.Image{}, watch.cause(err)
	}
	if counter.total = total; total == 0 {
		watch.rest()
	}
	stop := report(ctx, tell, func() string { return progressText(counter.read.Load(), total) })
	defer stop()
	keys, err := r.keysAfter(ctx, named.String(), target, used)
	if err != nil {
		return pod.Image{}, err
	}
	// The small parts are in the store by now and are not fetched again.
	pctx, pulled := tracing.Begin(ctx, "fetch and unpack", attribute.Int64("bytes", total))
	_, err = r.client.Pull(pctx, named.String(),
		containerd.WithResolver(counter),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(snapshotter),
		containerd.WithPlatformMatcher(platforms.Default()),
		containerd.WithPullLabels(keyLabels(r.opts.Instance, keys)))
	pulled(err)
	if err != nil {
		return pod.Image{}, watch.cause(native(err))
	}
	r.images.forget(named.String())
	info, err := r.image(ctx, named.String())
	if err != nil {
		return pod.Image{}, err
	}
	return info.Image, nil
}

// fetchHead fetches index, manifest and configuration, refuses what is for
// another platform before its layers are fetched, and returns what the name
// stands for and the size of the layers that are still to be fetched.
func (r *Runtime) fetchHead(ctx context.Context, resolver remotes.Resolver, name string) (target ocispec.Descriptor, size int64, err error) {
	resolved, target, err := resolver.Resolve(ctx, name)
	if err != nil {
		return target, 0, native(err)
	}
	fetcher, err := resolver.Fetcher(ctx, resolved)
	if err != nil {
		return target, 0, native(err)
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
		return target, 0, native(err)
	}
	manifest, _, err := readConfig(ctx, store, target)
	if err != nil {
		return target, 0, err
	}
	for _, l := range manifest.Layers {
		if _, err := store.Info(ctx, l.Digest); err != nil {
			size += l.Size
		}
	}
	return target, size, nil
}

// countingResolver counts the bytes of layers that its fetchers read, and
// tells that something moved.
type countingResolver struct {
	remotes.Resolver
	read  atomic.Int64
	total int64
	// moved is called when bytes came, arrived when they were the last.
	moved, arrived func()
}

func (c *countingResolver) add(n int) {
	read := c.read.Add(int64(n))
	if c.total > 0 && read >= c.total {
		c.arrived() // unpacking takes what it takes
	} else if n > 0 {
		c.moved()
	}
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
		return &countingReader{ReadCloser: rc, add: c.add}, nil
	}), nil
}

type countingReader struct {
	io.ReadCloser
	add func(int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.add(n)
	return n, err
}

var errNoSeek = errors.New("stream cannot seek")

// Seek lets a broken-off download be resumed where the registry can do that.
func (c *countingReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := c.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errNoSeek
	}
	at, err := s.Seek(offset, whence)
	if err == nil && whence == io.SeekStart {
		c.add(int(at)) // that part is there already
	}
	return at, err
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
