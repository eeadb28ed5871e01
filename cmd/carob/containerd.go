package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/config"
	"github.com/carob-project/carob/pkg/ctrd"
)

// dialTimeout bounds the question whether anything listens on a socket.
const dialTimeout = 2 * time.Second

// answers says whether something accepts connections on a unix socket.
func answers(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// findContainerd returns the socket of the containerd to use, or an empty
// string where carob has to start a private one. A private one that was used
// before is used again, even when a system containerd has come up since: the
// images and containers are there.
func findContainerd(ctx context.Context, c config.Config) (string, error) {
	if c.ContainerdAddress != "" {
		if err := answers(ctx, c.ContainerdAddress); err != nil {
			return "", fmt.Errorf("containerd-address: %w: start it, or leave the setting away and carob starts a private one", err)
		}
		return c.ContainerdAddress, nil
	}
	root, _, _ := c.PrivateContainerd()
	if _, err := os.Stat(root); err == nil {
		return "", nil
	}
	if answers(ctx, config.DefaultContainerdAddress) == nil {
		return config.DefaultContainerdAddress, nil
	}
	return "", nil
}

// launchPrivate starts, or finds, the instance's own containerd.
func launchPrivate(ctx context.Context, c config.Config, log *zap.Logger) (*ctrd.Child, error) {
	root, state, socket := c.PrivateContainerd()
	return ctrd.Launch(ctx, ctrd.LaunchOptions{
		Root: root, State: state, Socket: socket,
		LogPath: filepath.Join(c.DataDir, "containerd.log"), Log: log.Named("containerd"),
	})
}

func connect(ctx context.Context, c config.Config, address string, imagesOnly bool, log *zap.Logger) (*ctrd.Runtime, error) {
	o := ctrd.Options{
		Address: address, Namespace: c.ContainerdNamespace, Instance: c.InstanceID(), ImagesOnly: imagesOnly,
		SeccompDir: filepath.Join(c.DataDir, "seccomp"), PipeDir: filepath.Join(c.RunDir, "inside"), InitPath: initPath(), Log: log.Named("runtime"),
		RegistryConfigDir: c.RegistryConfigDir, MaxPulls: c.MaxParallelPulls,
	}
	if !imagesOnly {
		o.MountDir = filepath.Join(c.RunDir, "mounts")
	}
	// A private containerd leaves there what it learned from the shims while
	// carob was away.
	if _, state, socket := c.PrivateContainerd(); address == socket {
		o.StateDir = state
	}
	o.Handlers = map[string]ctrd.Handler{config.DefaultRuntime: {}}
	for name, r := range c.Runtimes {
		o.Handlers[name] = ctrd.Handler{Type: r.Type, Binary: r.Binary}
	}
	return ctrd.Connect(ctx, o)
}

var errNotRunning = errors.New("carob's containerd does not answer: start carob with `carob up`")

// connectRunning is for commands that work beside a running carob.
func connectRunning(ctx context.Context, c config.Config, log *zap.Logger) (*ctrd.Runtime, error) {
	address, err := findContainerd(ctx, c)
	if err != nil {
		return nil, err
	}
	if address == "" {
		_, _, address = c.PrivateContainerd()
		if err := answers(ctx, address); err != nil {
			return nil, fmt.Errorf("%w (%w)", errNotRunning, err)
		}
	}
	return connect(ctx, c, address, true, log)
}

// containerdVersion asks the containerd behind a socket.
func containerdVersion(ctx context.Context, address string) (version string, err error) {
	err = askContainerd(ctx, address, func(r *ctrd.Runtime) error {
		version, err = r.Version(ctx)
		return err
	})
	return version, err
}

// imageRoot is where the containerd behind a socket keeps what it mounts.
func imageRoot(ctx context.Context, address string) (root string, err error) {
	err = askContainerd(ctx, address, func(r *ctrd.Runtime) error {
		root, err = r.ImageRoot(ctx)
		return err
	})
	return root, err
}

func askContainerd(ctx context.Context, address string, ask func(*ctrd.Runtime) error) error {
	if err := answers(ctx, address); err != nil {
		return err
	}
	r, err := ctrd.Connect(ctx, ctrd.Options{Address: address, Namespace: config.Default().ContainerdNamespace, Instance: "check", ImagesOnly: true, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	return ask(r)
}

// initPath is where carob-init belongs: beside this program.
func initPath() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), "carob-init")
}
