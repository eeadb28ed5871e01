package ctrd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A containerd that starts drops the shims whose processes have all ended, and
// with them how they ended. So before carob starts its own containerd it asks
// the shims, and leaves their answers in files for the Runtime.

const (
	bundlesDir  = "io.containerd.runtime.v2.task"
	harvestDir  = "carob-exits"
	shimTimeout = 2 * time.Second
	// latestVersion is of the shims' interface.
	latestVersion = 3
	// bootTime is how long a containerd may take until it follows the shims
	// itself.
	bootTime = 10 * time.Second
)

// harvest asks every shim under a containerd's state directory for exits, and
// stores them; what belongs to no task is removed. Only while no containerd
// runs there.
func harvest(ctx context.Context, state, socket string, log *zap.Logger) {
	awaitHelpers(ctx, socket)
	defer openLogs(socket)()
	bundles, err := filepath.Glob(filepath.Join(state, bundlesDir, "*", "*"))
	if err != nil {
		return
	}
	var group errgroup.Group
	group.SetLimit(8)
	for _, bundle := range bundles {
		group.Go(func() error {
			ns := filepath.Base(filepath.Dir(bundle))
			// A dot in front marks one that containerd was removing.
			id, removing := strings.CutPrefix(filepath.Base(bundle), ".")
			store := func(x exitRecord) {
				if err := storeExit(state, ns, id, x); err != nil {
					log.Warn("cannot keep an exit", zap.String("id", id), zap.Error(err))
				}
			}
			err := errRemoving
			if !removing {
				err = askShim(ctx, bundle, ns, id, store)
			}
			if err == nil {
				return nil
			}
			log.Debug("a shim does not tell how its container stands", zap.String("id", id), zap.Error(err))
			if !removing && !abandoned(bundle, err) {
				return nil
			}
			log.Info("removing a task that was never finished", zap.String("id", id))
			if err := clearBundle(ctx, bundle, ns, id); err != nil {
				log.Warn("what a task left cannot be removed", zap.String("id", id), zap.Error(err))
			}
			return nil
		})
	}
	_ = group.Wait()
	endIdleShims(ctx, socket, log)
}

var errRemoving = errors.New("containerd was removing it")

// askShim asks the shim of a bundle and stores the exit of a process that has
// ended. One that lives is waited for in the background until a containerd
// that is started now follows it.
func askShim(ctx context.Context, bundle, ns, id string, store func(exitRecord)) error {
	address, version, err := shimAddress(bundle)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, ns), bootTime)
	answer, stop := context.WithTimeout(ctx, shimTimeout)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(answer, "unix", address)
	if err != nil {
		cancel()
		return err
	}
	client := ttrpc.NewClient(conn)
	hangUp := func() {
		cancel()
		_ = client.Close()
	}
	status, err := shimStatus(answer, client, version, id)
	if errdefs.IsNotImplemented(native(err)) {
		// The version is noted last.
		version = latestVersion
		status, err = shimStatus(answer, client, version, id)
	}
	if err != nil {
		hangUp()
		return err
	}
	finish := func() error {
		defer hangUp()
		x, err := shimExit(ctx, client, version, id)
		if err != nil {
			return err
		}
		// containerd removes the cgroup together with the shim.
		x.Unstarted = neverRan(ns, id, x.Code)
		x.OOM = oomKills(cgroups.Mode() == cgroups.Unified, bundleCgroup(bundle)) > 0
		store(x)
		return nil
	}
	if status.ended() {
		return finish()
	}
	// Its error says that the time is over, or the shim.
	go func() { _ = finish() }()
	return nil
}

// shimState is what a shim says about a process.
type shimState struct {
	status tasktypes.Status
	pid    int
}

// ended: also where the shim knows that a process died and is about to say so.
func (s shimState) ended() bool {
	return s.status == tasktypes.Status_STOPPED ||
		s.pid > 0 && errors.Is(unix.Kill(s.pid, 0), unix.ESRCH)
}

func shimStatus(ctx context.Context, c *ttrpc.Client, version int, id string) (shimState, error) {
	if version >= 3 {
		s, err := taskv3.NewTTRPCTaskClient(c).State(ctx, &taskv3.StateRequest{ID: id})
		return shimState{s.GetStatus(), int(s.GetPid())}, err
	}
	s, err := taskv2.NewTTRPCTaskClient(c).State(ctx, &taskv2.StateRequest{ID: id})
	return shimState{s.GetStatus(), int(s.GetPid())}, err
}

// shimExit waits for the end of a process.
func shimExit(ctx context.Context, c *ttrpc.Client, version int, id string) (exitRecord, error) {
	if version >= 3 {
		w, err := taskv3.NewTTRPCTaskClient(c).Wait(ctx, &taskv3.WaitRequest{ID: id})
		return exitRecord{Code: int(w.GetExitStatus()), FinishedAt: w.GetExitedAt().AsTime()}, err
	}
	w, err := taskv2.NewTTRPCTaskClient(c).Wait(ctx, &taskv2.WaitRequest{ID: id})
	return exitRecord{Code: int(w.GetExitStatus()), FinishedAt: w.GetExitedAt().AsTime()}, err
}

// bundleCgroup is the cgroups path of a bundle's container, or empty.
func bundleCgroup(bundle string) string {
	var spec struct {
		Linux struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	data, err := os.ReadFile(filepath.Join(bundle, "config.json")) //nolint:gosec // containerd's own state
	if err != nil || json.Unmarshal(data, &spec) != nil {
		return ""
	}
	return spec.Linux.CgroupsPath
}

var errShimAddress = errors.New("no address that can be used")

// shimAddress reads where a bundle's shim listens, as containerd 2.x or 1.x
// noted it.
func shimAddress(bundle string) (path string, version int, err error) {
	boot := struct {
		Version  int    `json:"version"`
		Address  string `json:"address"`
		Protocol string `json:"protocol"`
	}{Version: 2, Protocol: "ttrpc"}
	data, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json")) //nolint:gosec // containerd's own state
	if err == nil {
		err = json.Unmarshal(data, &boot)
	} else if data, err = os.ReadFile(filepath.Join(bundle, "address")); err == nil { //nolint:gosec // containerd's own state
		boot.Address = strings.TrimSpace(string(data))
	}
	if err != nil {
		return "", 0, err
	}
	path, ok := strings.CutPrefix(boot.Address, "unix://")
	if !ok || boot.Protocol != "ttrpc" {
		return "", 0, fmt.Errorf("%w: %q", errShimAddress, boot.Address)
	}
	return path, boot.Version, nil
}

func storedExit(state, ns, id string) string { return filepath.Join(state, harvestDir, ns, id) }

func storeExit(state, ns, id string, x exitRecord) error {
	text, err := x.encode()
	if err != nil {
		return err
	}
	path := storedExit(state, ns, id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// told returns the exit that a shim told before containerd was started.
func (r *Runtime) told(id string) (exitRecord, bool) {
	if r.opts.StateDir == "" {
		return exitRecord{}, false
	}
	data, err := os.ReadFile(storedExit(r.opts.StateDir, r.opts.Namespace, id))
	if err != nil {
		return exitRecord{}, false
	}
	return decodeExit(string(data), time.Now()), true
}

// forgetTold removes what told returns, when it is recorded for good.
func (r *Runtime) forgetTold(id string) {
	if r.opts.StateDir != "" {
		_ = os.Remove(storedExit(r.opts.StateDir, r.opts.Namespace, id))
	}
}
