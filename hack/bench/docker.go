package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/testimage"
)

// docker is a dockerd with directories, a socket, and network and mount
// namespaces of its own: bridges, rules and mounts go with it.
type docker struct {
	dir     string
	cmd     *exec.Cmd
	ended   chan struct{}
	compose []string
}

// errNoDocker is wrapped where docker cannot be measured on this machine.
var errNoDocker = errors.New("not measured")

const composeFile = `services:
  a:
    image: %[1]s
    command: [sleep, "100000"]
    stop_grace_period: 0s
  b:
    image: %[1]s
    command: [sleep, "100000"]
    network_mode: "service:a"
    stop_grace_period: 0s
`

func newDocker(dir string) *docker { return &docker{dir: dir} }

func (d *docker) group() string { return "carob-bench-docker-" + strconv.Itoa(os.Getpid()) }

func (d *docker) host() string { return "unix://" + filepath.Join(d.dir, "d.sock") }

// prepare starts dockerd and loads the image.
func (d *docker) prepare(ctx context.Context, image string) error {
	for _, name := range []string{"dockerd", "docker", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w", errNoDocker, err)
		}
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.findCompose(ctx); err != nil {
		return err
	}
	file := fmt.Sprintf(composeFile, testimage.DefaultName)
	if err := os.WriteFile(filepath.Join(d.dir, "docker-compose.yaml"), []byte(file), 0o600); err != nil {
		return err
	}
	return d.command(ctx, "docker", "load", "-i", image)
}

func (d *docker) start(ctx context.Context) error {
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	in := func(name string) string { return filepath.Join(d.dir, name) }
	d.cmd = exec.Command("unshare", "--net", "--mount", "--propagation", "private", "/bin/sh", "-c", `ip link set lo up && exec "$@"`, "sh",
		"dockerd", "--data-root", in("root"), "--exec-root", in("run"), "--pidfile", in("pid"), "--host", d.host(),
		"--cgroup-parent", d.group(), "--exec-opt", "native.cgroupdriver=cgroupfs", "--oom-score-adjust", "0")
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", errNoDocker, err)
	}
	d.ended = make(chan struct{})
	go func() {
		_ = d.cmd.Wait() // the log tells
		close(d.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for d.command(ctx, "docker", "version") != nil {
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		case <-d.ended:
		}
		return fmt.Errorf("%w: dockerd does not run here: %s", errNoDocker, lastLine(in("log")))
	}
	return nil
}

// findCompose prefers docker's own plugin to the older program.
func (d *docker) findCompose(ctx context.Context) error {
	for _, c := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if d.command(ctx, c[0], append(c[1:len(c):len(c)], "version")...) == nil {
			d.compose = c
			return nil
		}
	}
	return fmt.Errorf("%w: neither `docker compose` nor docker-compose works here", errNoDocker)
}

func (d *docker) command(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host(), "DOCKER_CONFIG="+filepath.Join(d.dir, "config"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (d *docker) composed(ctx context.Context, args ...string) error {
	return d.command(ctx, d.compose[0], append(d.compose[1:len(d.compose):len(d.compose)], args...)...)
}

// once brings both services up and takes them down; it returns how long the up
// took, after which both run.
func (d *docker) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := d.composed(ctx, "up", "-d"); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, d.composed(ctx, "down", "-t", "0")
}

// destroy ends dockerd, which ends its containers and its containerd.
func (d *docker) destroy() error {
	if d.cmd == nil || d.cmd.Process == nil {
		return nil
	}
	if d.compose != nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = d.composed(ctx, "down", "-t", "0") // an interrupted round
	}
	if err := d.cmd.Process.Signal(unix.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.ended:
	case <-time.After(timeout):
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
	return errors.Join(d.endContainerd(), removeGroups(d.group()))
}

// endContainerd ends the containerd that a killed dockerd leaves.
func (d *docker) endContainerd() error {
	pid, err := readInt(filepath.Join(d.dir, "run", "containerd", "containerd.pid"))
	if err != nil {
		return nil // it has ended, and its file with it
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(args), d.dir) {
		return nil
	}
	e, err := watchEnds([]int{int(pid)})
	if err != nil {
		return err
	}
	defer e.close()
	if err := unix.Kill(int(pid), unix.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return e.await(ctx)
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
