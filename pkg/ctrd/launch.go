package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// LaunchOptions say how to start a private containerd.
type LaunchOptions struct {
	// Binary is containerd's; empty: the one on PATH. Its shim is looked for
	// beside it first.
	Binary string
	// Root, State and Socket are containerd's own. Root outlives a reboot.
	Root, State, Socket string
	// LogPath is the file that containerd's output is appended to.
	LogPath string
	// StartTimeout bounds the wait for its first answer; 0 means 30 s.
	StartTimeout time.Duration
	Log          *zap.Logger
}

const (
	stopTimeout = 10 * time.Second
	maxLogSize  = 8 << 20
	minRestart  = 100 * time.Millisecond
	maxRestart  = 30 * time.Second
	// steady is how long it has to run for its next end to count as a first
	// one.
	steady = time.Minute
)

// ErrNoContainerd is wrapped where there is no containerd to start.
var ErrNoContainerd = errors.New("containerd is not installed")

// Launch starts a private containerd and returns when it answers. One that an
// earlier carob left running on the same socket is adopted. It is started
// again whenever it ends, until ctx ends or Stop is called.
func Launch(ctx context.Context, o LaunchOptions) (*Child, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.StartTimeout <= 0 {
		o.StartTimeout = 30 * time.Second
	}
	if err := o.prepare(); err != nil {
		return nil, fmt.Errorf("private containerd: %w", err)
	}
	c := &Child{opts: o, log: o.Log.Named("containerd"), ended: make(chan struct{})}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	p, err := c.first(ctx)
	if err != nil {
		c.end()
		return nil, fmt.Errorf("private containerd: %w", err)
	}
	c.pid.Store(int64(p.pid))
	stop := context.AfterFunc(ctx, c.end)
	go func() {
		defer stop()
		c.supervise(p)
	}()
	return c, nil
}

// prepare finds the binary and writes directories and configuration.
func (o *LaunchOptions) prepare() error {
	name := o.Binary
	if name == "" {
		name = "containerd"
	}
	binary, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoContainerd, err)
	}
	if o.Binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	// The root file systems are below it, and pods with a user namespace have
	// to get there.
	if err := os.MkdirAll(o.State, 0o711); err != nil { // #nosec G301 -- to get through, not to look around
		return err
	}
	if err := os.Chmod(o.State, 0o711); err != nil { // #nosec G302 -- as above
		return err
	}
	for _, dir := range []string{o.Root, filepath.Dir(o.Socket), filepath.Dir(o.LogPath)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return os.WriteFile(o.configPath(), []byte(o.config()), 0o600)
}

func (o *LaunchOptions) configPath() string { return filepath.Join(o.State, "config.toml") }
func (o *LaunchOptions) pidPath() string    { return filepath.Join(o.State, "containerd.pid") }

// disabledPlugins are those that carob does not use and that would cost time,
// want kernel features or make directories outside of root and state. A name
// that a version of containerd does not know does no harm.
func disabledPlugins() []string {
	return []string{
		"io.containerd.grpc.v1.cri",
		"io.containerd.cri.v1.images",
		"io.containerd.cri.v1.runtime",
		"io.containerd.podsandbox.controller.v1.podsandbox",
		"io.containerd.sandbox.controller.v1.shim",
		"io.containerd.internal.v1.opt",
		"io.containerd.internal.v1.restart",
		"io.containerd.monitor.container.v1.restart",
		"io.containerd.internal.v1.tracing",
		"io.containerd.tracing.processor.v1.otlp",
		"io.containerd.nri.v1.nri",
		"io.containerd.image-verifier.v1.bindir",
		"io.containerd.snapshotter.v1.aufs",
		"io.containerd.snapshotter.v1.blockfile",
		"io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.erofs",
		"io.containerd.snapshotter.v1.zfs",
		"io.containerd.differ.v1.erofs",
	}
}

// config is in version 2 of the format, which containerd 1.6 and 2.x both
// read. No oom_score: what carob was given holds for its containerd too.
func (o *LaunchOptions) config() string {
	quoted := make([]string, 0, len(disabledPlugins()))
	for _, p := range disabledPlugins() {
		quoted = append(quoted, strconv.Quote(p))
	}
	return fmt.Sprintf(`# Written by carob at every start; changes are lost.
version = 2
root = %q
state = %q
disabled_plugins = [
  %s,
]

[grpc]
  address = %q

[ttrpc]
  address = %q

[debug]
  level = "warn"
`, o.Root, o.State, strings.Join(quoted, ",\n  "), o.Socket, o.Socket+".ttrpc")
}

// first adopts the containerd that an earlier carob left, or starts one.
func (c *Child) first(ctx context.Context) (*process, error) {
	if pid := c.leftover(); pid != 0 {
		p, err := adopt(pid)
		// Asked again: the number may have changed hands before adopt.
		same := err == nil && c.leftover() == pid
		if same && c.awaitAnswer(ctx, p) == nil {
			c.log.Info("adopted the running containerd", zap.Int("pid", pid))
			return p, nil
		}
		if same {
			// It runs and does not answer: it would keep the new one from
			// its database.
			p.stop(stopTimeout)
		}
	}
	p, err := c.start()
	if err != nil {
		return nil, err
	}
	if err := c.awaitAnswer(ctx, p); err != nil {
		p.stop(stopTimeout)
		return nil, fmt.Errorf("%w; its log is %s%s", err, c.opts.LogPath, lastLine(c.opts.LogPath))
	}
	return p, nil
}

// leftover is the process ID of a containerd that was started with our
// configuration file, or 0. The pid file alone proves nothing: the number may
// have been given to another process since.
func (c *Child) leftover() int {
	pid := readInt(c.opts.pidPath(), 0)
	if pid <= 1 {
		return 0
	}
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return 0
	}
	args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	if filepath.Base(args[0]) != filepath.Base(c.opts.Binary) || !slices.Contains(args, c.opts.configPath()) {
		return 0
	}
	return pid
}

// awaitAnswer waits until containerd answers, its process ends, or the time is
// over.
func (c *Child) awaitAnswer(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.StartTimeout)
	defer cancel()
	client, err := containerd.New(c.opts.Socket, containerd.WithDialOpts(dialOptions()),
		containerd.WithCallOpts([]grpc.CallOption{grpc.WaitForReady(true)}))
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	answer := make(chan error, 1)
	go func() {
		_, err := client.Version(ctx)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err != nil {
			return fmt.Errorf("it does not answer on %s: %w", c.opts.Socket, err)
		}
		return nil
	case <-p.done:
		return errors.New("it ended at once")
	}
}

func lastLine(path string) string {
	data, err := os.ReadFile(path) //nolint:gosec // our own log
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + cutText(last, 400)
	}
	return ""
}
