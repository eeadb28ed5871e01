package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/carob-project/carob/pkg/config"
)

// timeout bounds each single thing that is measured.
const timeout = time.Minute

// cleanup bounds the removal of what a section left, which may be hundreds of
// pods.
const cleanup = 10 * time.Minute

type carob struct {
	bin, data, run, listen string
	cmd                    *exec.Cmd
	config                 *rest.Config
	client                 kubernetes.Interface
	meter                  *meter
}

func newCarob(bin, dir string) (*carob, error) {
	c := &carob{bin: bin, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run")}
	// Where it has a place for a containerd of its own it uses that, whatever
	// the machine has.
	root, _, _ := c.settings().PrivateContainerd()
	err := os.MkdirAll(root, 0o700)
	if err != nil {
		return nil, err
	}
	c.meter, err = newMeter(fmt.Sprintf("carob-bench-%d-%s", os.Getpid(), filepath.Base(dir)), c.group())
	return c, err
}

func (c *carob) settings() config.Config { return config.Config{DataDir: c.data, RunDir: c.run} }

// group is the control group of all pods.
func (c *carob) group() string { return "carob-" + c.settings().InstanceID() }

// containerd is the socket of its containerd.
func (c *carob) containerd() string {
	_, _, socket := c.settings().PrivateContainerd()
	return socket
}

func (c *carob) pid() int { return c.cmd.Process.Pid }

func (c *carob) flags() []string { return []string{"--data-dir", c.data, "--run-dir", c.run} }

func (c *carob) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, c.bin, append(args, c.flags()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("carob %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// up starts carob and returns how long it took until /readyz answered.
func (c *carob) up(ctx context.Context) (time.Duration, error) {
	if c.listen == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		c.listen = l.Addr().String()
		_ = l.Close()
	}
	args := c.meter.wrap(append([]string{c.bin, "up", "--listen", c.listen, "--cni-conf-dir", filepath.Join(c.data, "none"),
		// A nearly full disk is not what is measured.
		"--eviction-hard", "memory.available=50Mi,nodefs.available=1%",
	}, c.flags()...)...)
	c.cmd = exec.Command(args[0], args[1:]...)
	// A Ctrl-C is for the benchmark, which then ends carob.
	c.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	c.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := c.cmd.Start(); err != nil {
		return 0, err
	}
	// One that does not become ready is ended, and its output with it.
	patience := time.AfterFunc(timeout, func() { _ = c.cmd.Process.Kill() })
	defer patience.Stop()
	s := bufio.NewScanner(out)
	for s.Scan() {
		if strings.HasPrefix(s.Text(), "carob is ready") {
			took := time.Since(began)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return took, c.connect(ctx)
		}
	}
	return 0, errors.Join(errors.New("carob up ended"), c.cmd.Wait())
}

func (c *carob) connect(ctx context.Context) error {
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.data, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	cfg.QPS, cfg.Burst = -1, 0
	c.config = cfg
	if c.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	body, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil || string(body) != "ok" {
		return fmt.Errorf("/readyz: %q %w", body, err)
	}
	return nil
}

func (c *carob) stop() error {
	if c.cmd == nil || c.cmd.ProcessState != nil {
		return nil
	}
	if err := c.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return c.cmd.Wait()
}

func (c *carob) destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	return errors.Join(c.stop(), c.command(ctx, "reset", "--yes"), c.meter.destroy())
}

func (c *carob) importImage(ctx context.Context, tar string) error {
	return c.command(ctx, "image", "import", tar)
}
