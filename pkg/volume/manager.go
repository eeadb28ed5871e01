package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/tracing"
)

// Objects gives the objects that volumes are made of. One that does not exist is
// an error for which apierrors.IsNotFound holds, or that wraps pod.ErrNotFound.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	Volume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
	// TrustBundle returns a bundle of certificates, TrustBundles those of a
	// signer whose labels the selector finds.
	TrustBundle(ctx context.Context, name string) (*certificatesv1.ClusterTrustBundle, error)
	TrustBundles(ctx context.Context, signer string, s labels.Selector) ([]certificatesv1.ClusterTrustBundle, error)
}

// Tokens makes tokens of the pod's service account that die with the pod.
type Tokens interface {
	// Token returns one for the audience, or for the API where that is empty,
	// that is good for the given seconds.
	Token(ctx context.Context, p *corev1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
}

// Images shows images as directories.
type Images interface {
	// MountImage mounts an image that is on the node, read-only, at a place
	// below dir, and returns it: the same one for the same pod and content.
	// Its files belong to the pod's users.
	MountImage(ctx context.Context, uid types.UID, ref, dir string, users pod.IDRange) (string, error)
	// RemoveImages removes what that made beside the mounts, which are no more.
	RemoveImages(ctx context.Context, uid types.UID) error
}

// Options are the settings of a Manager.
type Options struct {
	// PodsDir holds a directory a pod, named by its UID.
	PodsDir string
	// MemoryDir is where a file system in memory is mounted, for Secrets and
	// the like; the directory it is in exists.
	MemoryDir string
	Objects   Objects
	// MakeLocal makes the directory of a volume that is this node's to make;
	// one that is there is left as it is. It may be nil where none is made.
	MakeLocal func(*corev1.PersistentVolume) error
	// Tokens may be nil where no volume is made.
	Tokens Tokens
	// Images may be nil where no volume is made; their removal is then left
	// to others.
	Images Images
	// Users tells the IDs of the user namespace that a pod has; it may be nil
	// where none has one.
	Users func(types.UID) (pod.IDRange, error)
	// ClusterDNS are the IPs of the cluster's name servers. While there are
	// none, the policy ClusterFirst works as Default does.
	ClusterDNS []string
	// ClusterDomain is the suffix of names in the cluster.
	ClusterDomain string
	// ResolvConf is the file with the node's DNS settings. Empty means
	// /etc/resolv.conf, or that of systemd-resolved where it runs.
	ResolvConf string
	// Allocatable returns what pods may use of the node: the limit that the
	// downward API tells containers that have none. It may be nil.
	Allocatable func() corev1.ResourceList
	// Now may be nil.
	Now pod.Clock
	// Log may be nil.
	Log *zap.Logger
}

// Manager implements pod.Volumes. Its methods are safe for concurrent use, those
// for one pod wait for each other.
type Manager struct {
	opts   Options
	memory memory
	locks  keyedLocks
	tokens tokenCache
}

var _ pod.Volumes = (*Manager)(nil)

// New returns a Manager and makes the directory of all pods.
func New(o Options) (*Manager, error) {
	for _, dir := range []string{o.PodsDir, o.MemoryDir} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("the directories for pods must be absolute paths, not %q", dir)
		}
	}
	// Mounts are found by the path that the kernel knows them by.
	if err := os.MkdirAll(o.PodsDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory for pods: %w", written(err))
	}
	dir, err := filepath.EvalSymlinks(o.PodsDir)
	if err != nil {
		return nil, fmt.Errorf("making the directory for pods: %w", err)
	}
	o.PodsDir = dir
	if o.Now == nil {
		o.Now = now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Allocatable == nil {
		o.Allocatable = func() corev1.ResourceList { return nil }
	}
	return &Manager{
		opts: o, memory: memory{dir: o.MemoryDir}, locks: keyedLocks{held: map[types.UID]*keyedLock{}},
		tokens: tokenCache{held: map[types.UID]map[tokenKey]heldToken{}},
	}, nil
}

// Prepare implements pod.Volumes. Every volume is tried; the error names all
// that failed, each in the words of a FailedMount event of Kubernetes.
func (m *Manager) Prepare(ctx context.Context, p *corev1.Pod) error {
	l, err := m.layout(p.UID)
	if err != nil {
		return err
	}
	defer m.locks.lock(p.UID)()
	if err := os.MkdirAll(filepath.Join(l.dir, "volumes"), 0o700); err != nil {
		return fmt.Errorf("making the directory of the pod: %w", written(err))
	}
	_, made := tracing.Begin(ctx, "files of the pod", tracing.Minor())
	err = m.prepareFiles(p, l)
	if made(err); err != nil {
		return fmt.Errorf("making the files of the pod: %w", err)
	}
	var errs []error
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		vctx, done := tracing.Begin(ctx, "volume", attribute.String("volume", v.Name))
		err := m.prepareVolume(vctx, p, v, l)
		if done(err); err != nil {
			if v.PersistentVolumeClaim == nil && v.Ephemeral == nil {
				err = &setupError{v.Name, err}
			}
			errs = append(errs, err)
		}
	}
	return joined(errs)
}

// prepareVolume makes one volume or brings it up to date.
func (m *Manager) prepareVolume(ctx context.Context, p *corev1.Pod, v *corev1.Volume, l layout) error {
	if !component(v.Name) {
		return invalid("%q cannot be a volume's name", v.Name)
	}
	dir := l.volume(v.Name)
	switch {
	case v.Image != nil:
		// It may have to be pulled first, for every container anew.
		return nil
	case v.HostPath != nil:
		return prepareHostPath(v.HostPath)
	case v.PersistentVolumeClaim != nil, v.Ephemeral != nil:
		return m.prepareClaim(ctx, p, v, l)
	case v.EmptyDir != nil:
		if err := prepareEmptyDir(dir, p, v.EmptyDir); err != nil || !pod.Propagates(p, v.Name) {
			return err
		}
		return share(dir)
	}
	files, err := m.payload(ctx, p, v)
	if err != nil {
		return err
	}
	group := groupOf(p)
	if v.ConfigMap != nil {
		err = openDir(dir, group, 0)
	} else {
		dir, err = m.memory.open(p.UID, v.Name, dir, group)
	}
	if err != nil {
		return err
	}
	return writePayload(dir, files, group, m.opts.Now())
}

// UIDs returns the pods of which there is something on the disk, those whose
// removal was interrupted too.
func (m *Manager) UIDs() ([]types.UID, error) {
	entries, err := os.ReadDir(m.opts.PodsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the directories of pods: %w", err)
	}
	var uids []types.UID
	for _, e := range entries {
		name := strings.TrimPrefix(e.Name(), removingPrefix)
		if e.IsDir() && component(name) && !slices.Contains(uids, types.UID(name)) {
			uids = append(uids, types.UID(name))
		}
	}
	return uids, nil
}

// Present says whether something of the pod is on the disk.
func (m *Manager) Present(uid types.UID) (bool, error) {
	l, err := m.layout(uid)
	if err != nil {
		return false, err
	}
	for _, dir := range []string{l.dir, m.removing(uid)} {
		_, err := os.Lstat(dir)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

func (m *Manager) removing(uid types.UID) string {
	return filepath.Join(m.opts.PodsDir, removingPrefix+string(uid))
}

// keyedLocks is a mutex a pod.
type keyedLocks struct {
	mu   sync.Mutex
	held map[types.UID]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock waits for the pod's mutex and returns what unlocks it.
func (k *keyedLocks) lock(uid types.UID) func() {
	k.mu.Lock()
	l := k.held[uid]
	if l == nil {
		l = &keyedLock{}
		k.held[uid] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.held, uid)
		}
	}
}
