package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/pod"
)

// slicer is what the systemd driver needs of systemd.
type slicer interface {
	// start makes a transient slice, or sets the properties of one that
	// exists.
	start(ctx context.Context, slice string, r pod.Resources) error
	// stop ends a slice; an unknown one is no error.
	stop(ctx context.Context, slice string) error
}

// Manager makes the groups of one instance. It is safe for concurrent use.
type Manager struct {
	info    Info
	root    string
	systemd slicer
	log     *zap.Logger

	// mu keeps the making of shared levels, and their removal, apart.
	mu sync.Mutex
	// all bounds the group of all pods.
	all pod.Resources
	// reserve says that the levels above pods have the protection of memory
	// that the pods have together.
	reserve bool
}

// New returns the manager of the tree below root, an absolute path of one
// element such as /carob-1a2b3c4d. It touches nothing yet.
func New(info Info, root string, log *zap.Logger) (*Manager, error) {
	if log == nil {
		log = zap.NewNop()
	}
	name, absolute := strings.CutPrefix(root, "/")
	if !absolute || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%w: root %q", ErrName, root)
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	m := &Manager{info: info, root: root, log: log}
	if info.Driver == Systemd {
		m.systemd = &dbusSlicer{v: info.Version}
	}
	return m, nil
}

// Info returns what the manager was made for.
func (m *Manager) Info() Info { return m.info }

// ParentFor returns what the OCI runtime takes as parent for a group of that
// name: an absolute path for cgroupfs, a slice's name for systemd. The path of
// a container is then ParentFor(name)/<container id>, or
// ParentFor(name):<prefix>:<container id>.
func (m *Manager) ParentFor(name string) string {
	if m.info.Driver == Systemd {
		return sliceName(m.root, name)
	}
	return path.Join(m.root, name)
}

// dir returns the directory of a group within one hierarchy.
func (m *Manager) dir(hierarchy, name string) string {
	if m.info.Driver == Systemd {
		return filepath.Join(hierarchy, slicePath(sliceName(m.root, name)))
	}
	return filepath.Join(hierarchy, m.root, name)
}

// EnsurePod makes the group of a pod (a name of PodName) and everything above
// it, and sets its resources. Called again it sets them again.
func (m *Manager) EnsurePod(ctx context.Context, name string, r pod.Resources) error {
	if err := checkName(name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, level := range append([]string{""}, levels(name)...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		res := pod.Resources{}
		switch {
		case level == name:
			res = r
		case level == kubepods && !m.exists(level):
			res = m.all
		case path.Base(level) == besteffort:
			res.CPUShares = 2
		}
		if err := m.ensure(ctx, level, res, level != name); err != nil {
			return fmt.Errorf("make cgroup %s: %w", m.ParentFor(level), err)
		}
	}
	if err := m.limitHugePages(name, r); err != nil {
		return fmt.Errorf("make cgroup %s: %w", m.ParentFor(name), err)
	}
	m.balance(ctx)
	return nil
}

// AllPods is the name of the group of all pods.
const AllPods = kubepods

// boundTime bounds a call to systemd.
const boundTime = 10 * time.Second

// Bound sets the limits of all pods together, now where they have a group
// already, else with the first of them.
func (m *Manager) Bound(r pod.Resources) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = r
	if !m.exists(kubepods) {
		return nil
	}
	if m.systemd != nil {
		ctx, cancel := context.WithTimeout(context.Background(), boundTime)
		defer cancel()
		if err := m.systemd.start(ctx, m.ParentFor(kubepods), r); err != nil {
			return fmt.Errorf("bound all pods: %w", err)
		}
	}
	for _, s := range settings(m.info.Version, r) {
		if err := write(m.dir(m.hierarchy(s.controller), kubepods), s.file, s.value); err != nil {
			return fmt.Errorf("bound all pods: %w", err)
		}
	}
	return nil
}

// ensure makes one group in every hierarchy and writes its values.
func (m *Manager) ensure(ctx context.Context, name string, r pod.Resources, hasChildren bool) error {
	if m.systemd != nil && (!hasChildren || !m.exists(name)) {
		if err := m.systemd.start(ctx, m.ParentFor(name), r); err != nil {
			return err
		}
	}
	for _, h := range m.info.controlRoots() {
		dir := m.dir(h, name)
		if m.info.Version == V2 {
			// A controller shows in a group only after its parent passes it
			// on.
			if err := delegate(filepath.Dir(dir)); err != nil {
				return err
			}
		}
		// 0755 as every group has: cgroup readers need no privilege.
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // see above
			return err
		}
		if err := m.initialise(h, dir, hasChildren); err != nil {
			return err
		}
	}
	for _, s := range settings(m.info.Version, r) {
		if err := write(m.dir(m.hierarchy(s.controller), name), s.file, s.value); err != nil {
			return err
		}
	}
	return nil
}

// initialise gives a new group what its hierarchy demands before anything can
// live in it.
func (m *Manager) initialise(hierarchy, dir string, hasChildren bool) error {
	switch {
	case m.info.Version == V2:
		// The runtime makes the containers' groups below the pod's, so the
		// pod's passes its controllers on as well.
		return delegate(dir)
	case hierarchy == m.info.Mounts["cpuset"]:
		return inheritCPUSet(dir)
	case hierarchy == m.info.Mounts["memory"] && hasChildren:
		// Kernels before 5.11 can leave a limit out of what lies below.
		// Where that is the default the file refuses the write; the value
		// is then right already.
		if v, err := read(dir, "memory.use_hierarchy"); err == nil && v == "0" {
			return write(dir, "memory.use_hierarchy", "1")
		}
	}
	return nil
}

// hierarchy returns the mount point that holds a controller.
func (m *Manager) hierarchy(controller string) string {
	if m.info.Version == V2 {
		return m.info.Unified
	}
	return m.info.Mounts[controller]
}

// balance gives the levels above pods what their pods have together: of memory
// protection, and, the burstable level, of CPU shares. Else many burstable pods
// would share what one guaranteed pod weighs. It is an optimisation: a failure is
// only logged.
func (m *Manager) balance(ctx context.Context) {
	if m.reserve {
		m.protect(ctx)
	}
	level := path.Join(kubepods, burstable)
	file, total := "cpu.shares", uint64(0)
	if m.info.Version == V2 {
		file = "cpu.weight"
	}
	dir := m.dir(m.hierarchy("cpu"), level)
	children, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, c := range children {
		if !c.IsDir() {
			continue
		}
		if v, err := read(filepath.Join(dir, c.Name()), file); err == nil {
			n, _ := strconv.ParseUint(v, 10, 64) // 0 where the kernel says something new
			total += n
		}
	}
	limits := map[Version][2]uint64{V1: {2, 262144}, V2: {1, 10000}}[m.info.Version]
	total = min(max(total, limits[0]), limits[1])
	if err := write(dir, file, strconv.FormatUint(total, 10)); err != nil && ctx.Err() == nil {
		m.log.Warn("share CPU between classes", zap.Error(err))
	}
}

// Exists says whether the pod's group is there, in every hierarchy that limits
// something.
func (m *Manager) Exists(name string) bool {
	return checkName(name) == nil && m.exists(name)
}

func (m *Manager) exists(name string) bool {
	for _, h := range m.info.controlRoots() {
		if _, err := os.Stat(m.dir(h, name)); err != nil {
			return false
		}
	}
	return true
}

// Pods returns the names of all pod groups of this instance, in any hierarchy,
// sorted.
func (m *Manager) Pods() ([]string, error) {
	var names []string
	for _, h := range m.info.roots() {
		for _, level := range []string{kubepods, path.Join(kubepods, burstable), path.Join(kubepods, besteffort)} {
			entries, err := os.ReadDir(m.dir(h, level))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list cgroups: %w", err)
			}
			for _, e := range entries {
				if uid, ok := m.uidOf(level, e); ok {
					names = append(names, path.Join(level, "pod"+uid))
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// uidOf returns the pod UID of a directory below a level. systemd's names have
// lost the dashes; a UUID has them at known places.
func (m *Manager) uidOf(level string, e fs.DirEntry) (string, bool) {
	if !e.IsDir() {
		return "", false
	}
	name := e.Name()
	if m.info.Driver == Systemd {
		prefix := strings.TrimSuffix(sliceName(m.root, level), ".slice") + "-"
		rest, ok := strings.CutPrefix(strings.TrimSuffix(name, ".slice"), prefix)
		if !ok {
			return "", false
		}
		name = strings.ReplaceAll(rest, "_", "-")
	}
	return PodUID(name)
}
