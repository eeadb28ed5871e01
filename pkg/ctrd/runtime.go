package ctrd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/internal/flight"
	"github.com/carob-project/carob/pkg/pod"
)

// DefaultRuntimeHandler is containerd's runtime for runc and what behaves like
// it.
const DefaultRuntimeHandler = "io.containerd.runc.v2"

// Options say which containerd to use, and as whom.
type Options struct {
	// Address is containerd's socket.
	Address string
	// Namespace is the containerd namespace of all that carob makes.
	Namespace string
	// Instance tells this carob's things from those of another in the same
	// namespace.
	Instance string
	// Snapshotter holds images and root file systems; empty: overlayfs where
	// containerd has it, else native.
	Snapshotter string
	// RuntimeHandler is containerd's runtime; empty: DefaultRuntimeHandler.
	RuntimeHandler string
	// Binary is the OCI runtime the handler calls; empty: its own default.
	Binary string
	// Handlers are further runtimes, by the name that a pod's runtime class
	// gives.
	Handlers map[string]Handler
	// StateDir is the state directory of a containerd that Launch started,
	// from where exits are read that no containerd saw; empty: none.
	StateDir string
	// SeccompDir holds the seccomp profiles that pods may name.
	SeccompDir string
	// InitPath is the program carob-init; without it there are no holders and
	// no reapers.
	InitPath string
	// PipeDir is where the pipes of commands are; empty: below the system's
	// directory for temporary files, under the instance's name.
	PipeDir string
	// MountDir is where file systems are mounted that are needed for a moment;
	// what is found there is removed. Empty: in the system's directory for
	// temporary files.
	MountDir string
	// ImagesOnly is for commands beside a running carob: it neither watches
	// nor records exits; only the methods about images, Ping, Version and
	// RemoveInstance work.
	ImagesOnly bool
	// MaxPulls bounds how many images are pulled from one registry at once; 0
	// means 3.
	MaxPulls int64
	// StallTime is how long a pull may make no progress; 0 means a minute.
	StallTime time.Duration
	// RegistryConfigDir holds a directory a registry with a hosts.toml, as
	// containerd's documentation describes it; empty: none.
	RegistryConfigDir string
	Log               *zap.Logger
}

// Runtime runs attempts and keeps images on containerd. While containerd is
// away its methods return errors that wrap pod.ErrUnavailable; when it is back
// they work again.
type Runtime struct {
	opts   Options
	log    *zap.Logger
	client *containerd.Client
	host   host

	state *state
	ids   keyedLocks
	// shims keeps the making of a pod's tasks and their deletion apart: the
	// last deletion ends the shim that a new task would go to.
	shims sharedLocks
	first firstShims
	// strayTime is shorter in tests.
	strayTime time.Duration
	// deleted is when a pod's task was last deleted.
	deleted sync.Map
	images  *imageCache
	pulls   flight.Group[pod.Image]
	// limits holds the *semaphore.Weighted of each registry, by its host.
	limits sync.Map
	finish *semaphore.Weighted

	// undone are the IDs of attempts that were half made and could not be
	// removed again yet.
	undone sync.Map

	snapshotter atomic.Pointer[string]
	features    featureCache
	kernel      kernelProbe
	path        searchPath
	imageRoot   atomic.Pointer[string]
	clampOnce   sync.Once

	// leases of this process, which CleanUp must leave alone.
	leaseMu sync.Mutex
	leases  map[string]struct{}

	life    context.Context
	end     context.CancelFunc
	workers sync.WaitGroup
}

var (
	_ pod.Runtime     = (*Runtime)(nil)
	_ pod.RuntimeView = (*Runtime)(nil)
	_ pod.Images      = (*Runtime)(nil)
	_ pod.Insider     = (*Runtime)(nil)
)

// Connect returns a Runtime that connects by itself, now and whenever
// containerd comes back; that containerd does not answer yet is no error. It
// works until ctx ends or Close is called.
func Connect(ctx context.Context, o Options) (*Runtime, error) {
	if o.Address == "" || o.Namespace == "" || o.Instance == "" {
		return nil, errors.New("containerd: address, namespace and instance must be given")
	}
	if o.RuntimeHandler == "" {
		o.RuntimeHandler = DefaultRuntimeHandler
	}
	if o.MaxPulls <= 0 {
		o.MaxPulls = 3
	}
	if o.StallTime <= 0 {
		o.StallTime = time.Minute
	}
	if o.PipeDir == "" {
		o.PipeDir = filepath.Join(os.TempDir(), "carob-exec-"+o.Instance)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MountDir != "" {
		if err := cleanMountDir(o.MountDir); err != nil {
			return nil, err
		}
	}
	client, err := containerd.New(o.Address,
		containerd.WithDefaultNamespace(o.Namespace),
		containerd.WithDialOpts(dialOptions()))
	if err != nil {
		return nil, fmt.Errorf("containerd: %w", err)
	}
	r := &Runtime{
		opts:      o,
		log:       o.Log.Named("ctrd"),
		client:    client,
		host:      thisHost(),
		state:     newState(),
		images:    newImageCache(),
		finish:    semaphore.NewWeighted(8),
		strayTime: strayTime,
		leases:    map[string]struct{}{},
	}
	r.life, r.end = context.WithCancel(r.scoped(ctx))
	if !o.ImagesOnly {
		r.host.contexts = tellContexts(r.log)
		r.workers.Go(func() { r.follow(r.life) })
	}
	return r, nil
}

// cleanMountDir removes what a process that was killed has left of its mounts,
// and has the library mount there from now on.
func cleanMountDir(dir string) error {
	if err := mount.SetTempMountLocation(dir); err != nil {
		return fmt.Errorf("directory for mounts: %w", err)
	}
	warnings, err := mount.CleanupTempMounts(unix.MNT_DETACH)
	if err := errors.Join(append(warnings, err)...); err != nil {
		return fmt.Errorf("mounts of an earlier run: %w", err)
	}
	return nil
}

// dialOptions make a broken connection come back within a second.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dialUnix),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
}

// dialUnix fails at once where there is no socket. containerd's own dialer
// waits for one, and every call with it.
func dialUnix(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", strings.TrimPrefix(address, "unix://"))
}

// Close ends what Connect began. Containers go on running.
func (r *Runtime) Close() error {
	r.end()
	r.workers.Wait()
	return r.client.Close()
}

// scoped puts containerd's namespace into ctx.
func (r *Runtime) scoped(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.opts.Namespace)
}

// Ping tells whether containerd answers.
func (r *Runtime) Ping(ctx context.Context) error {
	_, err := r.Version(ctx)
	return err
}

// Version is containerd's own version.
func (r *Runtime) Version(ctx context.Context) (string, error) {
	v, err := r.client.Version(r.scoped(ctx))
	if err != nil {
		return "", native(err)
	}
	return v.Version, nil
}

// List returns all attempts of all pods of this instance.
func (r *Runtime) List(ctx context.Context) ([]pod.Attempt, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	return r.state.list(), nil
}

// ListPod returns all attempts of one pod.
func (r *Runtime) ListPod(ctx context.Context, uid types.UID) ([]pod.Attempt, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	return r.state.listPod(uid), nil
}

// Watch returns a channel of changes; see pod.RuntimeView.
func (r *Runtime) Watch(ctx context.Context) (<-chan pod.Change, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	return r.state.watch(ctx)
}

var errImagesOnly = errors.New("this connection was made for images only")

// usable waits until the picture of what runs is true.
func (r *Runtime) usable(ctx context.Context) error {
	if r.opts.ImagesOnly {
		return errImagesOnly
	}
	if r.life.Err() != nil {
		return unavailable(errClosed)
	}
	return r.state.await(ctx)
}

var errClosed = errors.New("connection was closed")

// containers is containerd's container store.
func (r *Runtime) containers() containers.Store { return r.client.ContainerService() }

// snapshots is the chosen snapshotter.
func (r *Runtime) snapshots(ctx context.Context) (snapshots.Snapshotter, string, error) {
	name, err := r.snapshotterName(ctx)
	if err != nil {
		return nil, "", err
	}
	return r.client.SnapshotService(name), name, nil
}

// snapshotterName chooses once, as soon as containerd answers.
func (r *Runtime) snapshotterName(ctx context.Context) (string, error) {
	if name := r.snapshotter.Load(); name != nil {
		return *name, nil
	}
	name := r.opts.Snapshotter
	if name == "" {
		resp, err := r.client.IntrospectionService().Plugins(ctx, `type==io.containerd.snapshotter.v1,id==overlayfs`)
		if err != nil {
			return "", native(err)
		}
		name = "native"
		for _, p := range resp.Plugins {
			if p.InitErr == nil {
				name = "overlayfs"
			}
		}
		if name == "native" {
			r.log.Warn("containerd has no overlayfs snapshotter; every container gets a full copy of its image")
		}
	}
	r.snapshotter.Store(&name)
	return name, nil
}

// Handler is a runtime that pods may name.
type Handler struct {
	// Type is containerd's runtime; empty: DefaultRuntimeHandler.
	Type string
	// Binary is the OCI runtime that it calls; empty: its own default.
	Binary string
}

// handler returns the runtime of that name; the empty one is the default.
func (r *Runtime) handler(name string) (Handler, error) {
	if name == "" {
		return Handler{Type: r.opts.RuntimeHandler, Binary: r.opts.Binary}, nil
	}
	h, ok := r.opts.Handlers[name]
	if !ok {
		return Handler{}, fmt.Errorf("%w: no runtime for %q is configured", pod.ErrConfig, name)
	}
	h.Type = cmp.Or(h.Type, r.opts.RuntimeHandler)
	return h, nil
}

// runtimeInfo is what a container's record says of its runtime.
func (r *Runtime) runtimeInfo(name string, systemd bool, users pod.IDRange) (containers.RuntimeInfo, error) {
	h, err := r.handler(name)
	info := containers.RuntimeInfo{Name: h.Type}
	if err != nil || h.Binary == "" && !systemd && !users.Mapped() {
		return info, err
	}
	options, err := typeurl.MarshalAny(&runcoptions.Options{
		BinaryName: h.Binary, SystemdCgroup: systemd,
		// Else the pod's root could not open what /dev/stdout is.
		IoUid: users.First, IoGid: users.First,
	})
	if err != nil {
		return info, fmt.Errorf("runtime options: %w", err)
	}
	info.Options = options
	return info, nil
}
