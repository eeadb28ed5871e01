package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/cni/keylock"
	"github.com/carob-project/carob/pkg/pod"
)

var (
	_ pod.Sandboxes   = (*Manager)(nil)
	_ pod.SandboxView = (*Manager)(nil)
)

// undoWait bounds an undo; it runs although the context of what failed is over.
const undoWait = 30 * time.Second

// Network attaches namespaces; *cni.Network is one.
type Network interface {
	Attach(ctx context.Context, req cni.Request) (cni.Result, error)
	Detach(ctx context.Context, id string) error
	GC(ctx context.Context, wanted func(id string) bool) error
}

// Cgroups keeps the pods' groups; *cgroup.Manager is one.
type Cgroups interface {
	EnsurePod(ctx context.Context, name string, r pod.Resources) error
	Remove(ctx context.Context, name string) error
	ParentFor(name string) string
	Pods() ([]string, error)
}

// Options say what a Manager works with.
type Options struct {
	// Dir holds one directory a pod.
	Dir     string
	Network Network
	Cgroups Cgroups
	// Hostname is what a pod sees as its host's name; Resources and QOS are
	// for its cgroup. They default to the functions of package pod.
	Hostname  func(*corev1.Pod) (string, error)
	Resources func(*corev1.Pod) pod.Resources
	QOS       func(*corev1.Pod) corev1.PodQOSClass
	// NodeIPs are the addresses of pods in the node's network.
	NodeIPs []string
	// IDFiles is the directory with passwd, group, subuid and subgid, which
	// tell the IDs that are not for pods; it defaults to /etc.
	IDFiles string
	// Sensitivity is that of the SELinux levels that pods get; empty where the
	// node has none.
	Sensitivity string
	// BootID defaults to the kernel's.
	BootID string
	// Now defaults to time.Now, Log may be nil.
	Now pod.Clock
	Log *zap.Logger
}

// Manager makes and removes sandboxes. It is safe for concurrent use; calls for
// one pod run one after the other.
type Manager struct {
	opts  Options
	log   *zap.Logger
	locks keylock.Locks

	// mu guards making: the pods whose Create runs now.
	mu     sync.Mutex
	making map[types.UID]bool
	// own is held from the choice of what is one pod's alone, IDs and SELinux
	// categories, until a record has it.
	own sync.Mutex
}

// New returns the manager of the sandboxes in a directory, which it makes.
func New(opts Options) (*Manager, error) {
	if opts.Network == nil || opts.Cgroups == nil {
		return nil, errors.New("sandbox: network and cgroups are required")
	}
	if !filepath.IsAbs(opts.Dir) {
		return nil, fmt.Errorf("sandbox directory %q is not absolute", opts.Dir)
	}
	if opts.Hostname == nil {
		opts.Hostname = pod.KernelHostname
	}
	if opts.Resources == nil {
		opts.Resources = pod.PodResources
	}
	if opts.QOS == nil {
		opts.QOS = pod.QOSClass
	}
	if opts.IDFiles == "" {
		opts.IDFiles = "/etc"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	if opts.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, fmt.Errorf("read the boot ID: %w", err)
		}
		opts.BootID = strings.TrimSpace(string(id))
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the sandbox directory: %w", err)
	}
	return &Manager{opts: opts, log: opts.Log, making: map[types.UID]bool{}}, nil
}

func (m *Manager) dir(uid types.UID) string { return filepath.Join(m.opts.Dir, string(uid)) }

// lock takes the lock of a pod.
func (m *Manager) lock(ctx context.Context, uid types.UID) (unlock func(), err error) {
	if !validUID.MatchString(string(uid)) {
		return nil, fmt.Errorf("invalid pod UID %q", uid)
	}
	return m.locks.Lock(ctx, string(uid))
}

func (m *Manager) setMaking(uid types.UID, making bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if making {
		m.making[uid] = true
		return
	}
	delete(m.making, uid)
}

func (m *Manager) isMaking(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.making[uid]
}

// undoContext outlives the context of what has to be undone.
func undoContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoWait)
}
