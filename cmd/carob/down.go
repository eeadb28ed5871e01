package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/ctrd"
	"github.com/carob-project/carob/pkg/logging"
	"github.com/carob-project/carob/pkg/pipekeeper"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/volume"
)

// teardownTimeout bounds `down` and `reset` beside the time given to pods.
const teardownTimeout = 3 * time.Minute

func (a *app) downCommand() *cobra.Command {
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End carob and its pods and remove their traces; data is kept",
		Long: "End carob and its pods and remove every trace of them outside of the data\n" +
			"directory. The next `carob up` brings the same pods back.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tearDown(cmd, grace, false) },
	}
	cmd.Flags().DurationVar(&grace, "grace", 10*time.Second, "time containers have between SIGTERM and SIGKILL")
	return cmd
}

var errResetUnconfirmed = errors.New("reset removes all pods, objects, images and logs of this instance: say `carob reset --yes`")

func (a *app) resetCommand() *cobra.Command {
	var grace time.Duration
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Do what down does and remove all data of the instance",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return errResetUnconfirmed
			}
			return a.tearDown(cmd, grace, true)
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 0, "time containers have between SIGTERM and SIGKILL")
	cmd.Flags().BoolVar(&yes, "yes", false, "really do it")
	return cmd
}

func (a *app) tearDown(cmd *cobra.Command, grace time.Duration, all bool) error {
	if os.Geteuid() != 0 {
		return errors.New("this ends processes and removes mounts: run it as root")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, teardownTimeout+grace)
	defer cancel()
	c, err := a.load(cmd)
	if err != nil {
		return err
	}
	if c, err = saved(c); err != nil {
		return err
	}
	log, err := logging.New(a.ErrOut, c.LogLevel, c.LogFormat)
	if err != nil {
		return err
	}
	logging.RouteKlog(log)
	if err := stopRunning(ctx, c); err != nil {
		return err
	}
	if nothingThere(c) {
		fmt.Fprintln(a.Out, "nothing to do: this instance has no data and runs nothing")
		return nil
	}
	release, err := lock(c)
	if err != nil {
		return err
	}
	err = endInstance(ctx, c, grace, all, log)
	if err == nil && all {
		err = removeData(c)
	}
	release()
	if err != nil {
		return err
	}
	if err := removeRunDir(c); err != nil {
		return err
	}
	if all {
		fmt.Fprintln(a.Out, "carob has ended; nothing of it is left")
		return nil
	}
	fmt.Fprintf(a.Out, "carob has ended; its data is in %s, and `carob up` brings the pods back\n", c.DataDir)
	return nil
}

func nothingThere(c config.Config) bool {
	gone := func(dir string) bool { _, err := os.Stat(dir); return errors.Is(err, os.ErrNotExist) }
	return gone(c.DataDir) && gone(c.RunDir)
}

// endInstance ends and removes what runs. Each part is tried whatever becomes
// of the others, in the order in which they depend on each other.
func endInstance(ctx context.Context, c config.Config, grace time.Duration, all bool, log *zap.Logger) error {
	var errs []error
	errs = append(errs, endContainers(ctx, c, grace, all, log))
	errs = append(errs, pipekeeper.New(c.KeeperSocket()).Quit(ctx))
	network, err := cni.New(networkOptions(c, log.Named("network")))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, endSandboxes(ctx, c, network, log))
	errs = append(errs, network.Remove(ctx))
	return errors.Join(errs...)
}

func endContainers(ctx context.Context, c config.Config, grace time.Duration, all bool, log *zap.Logger) (err error) {
	address, err := findContainerd(ctx, c)
	if err != nil && ranNothing(c) {
		log.Warn("containerd was not asked: no pod has been run, and images imported into it stay", zap.Error(err))
		return nil
	}
	if err != nil {
		return err
	}
	if address == "" {
		child, err := launchPrivate(ctx, c, log)
		if errors.Is(err, ctrd.ErrNoContainerd) {
			// Without the program there can be no containers of its making.
			return nil
		}
		if err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, child.Stop(context.WithoutCancel(ctx)))
			if err == nil {
				err = ctrd.EndShims(ctx, child.Address())
			}
			ctrd.RemoveTraces(c.ContainerdNamespace)
		}()
		address = child.Address()
	}
	r, err := connect(ctx, c, address, false, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if grace > 0 {
		if err := signalAll(ctx, r, grace); err != nil {
			return err
		}
	}
	return r.RemoveInstance(ctx, all)
}

// ranNothing says whether no pod of this instance has left anything on the
// machine, so that containerd can have no container of it: every container's
// pod has both directories for as long as it exists.
func ranNothing(c config.Config) bool {
	empty := func(dir string) bool {
		entries, err := os.ReadDir(dir)
		return errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0
	}
	return empty(c.PodsDir()) && empty(sandboxesDir(c))
}

// signalAll sends SIGTERM to what runs and waits until it has ended, or grace
// is over.
func signalAll(ctx context.Context, r *ctrd.Runtime, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	changes, err := r.Watch(ctx)
	if err != nil {
		return err
	}
	signalled := map[string]bool{}
	for {
		attempts, err := r.List(ctx)
		if err != nil {
			return err
		}
		live := 0
		for _, at := range attempts {
			if at.State == pod.AttemptExited {
				continue
			}
			live++
			if !signalled[at.ID] {
				signalled[at.ID] = true
				if err := r.Signal(ctx, at.ID, unix.SIGTERM); err != nil && ctx.Err() == nil {
					return err
				}
			}
		}
		if live == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				return nil
			}
		}
	}
}

func endSandboxes(ctx context.Context, c config.Config, network *cni.Network, log *zap.Logger) error {
	cgroups, err := newCgroups(c, log.Named("cgroup"))
	if err != nil {
		return err
	}
	sandboxes, err := newSandboxes(c, network, cgroups, log.Named("sandbox"))
	if err != nil {
		return err
	}
	var errs []error
	errs = append(errs, sandboxes.GC(ctx, func(types.UID) bool { return false }))
	volumes, err := newVolumes(c, nil, nil, nil, nil, log)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, removeVolumes(ctx, volumes))
	return errors.Join(append(errs, cgroups.RemoveRoot(ctx))...)
}

func removeVolumes(ctx context.Context, volumes *volume.Manager) error {
	uids, err := volumes.UIDs()
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range uids {
		errs = append(errs, volumes.Remove(ctx, uid))
	}
	return errors.Join(errs...)
}

// dataEntries is what carob makes in its data directory. Anything else there
// is somebody's, and stays.
var dataEntries = []string{
	"etcd", "pki", "pods", "volumes", "containerd", "containerd.log", "admin.kubeconfig", "instance.yaml", "instance.yaml.new", "lock", "made-by-demo",
}

func removeData(c config.Config) error { return removeInside(c.DataDir, dataEntries...) }

func removeRunDir(c config.Config) error {
	entries := []string{"sandboxes", "cni", "containerd", "mounts", "memory", "exec", "inside", "agent.sock", "carob.pid", "etcd"}
	more, _ := filepath.Glob(filepath.Join(c.RunDir, "*.sock"))
	for _, m := range more {
		entries = append(entries, filepath.Base(m))
	}
	return removeInside(c.RunDir, entries...)
}
