package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

// podman is what a user would pick instead.
type podman struct {
	dir, yaml string
	before    traces
}

// noLimits runs runc without the resource limits podman asks for. podman wants
// more open files and processes than a machine without CAP_SYS_RESOURCE may
// grant, and gives up where it is refused. It costs podman a few milliseconds
// a container, and is used only on such a machine.
const noLimits = `#!/bin/sh
bundle= previous=
for a; do [ "$previous" = --bundle ] && bundle=$a; previous=$a; done
[ -n "$bundle" ] && sed -i -E 's/,?"rlimits":\[[^]]*\]//' "$bundle/config.json"
exec runc "$@"
`

func newPodman(ctx context.Context, dir string) (*podman, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, errors.New("podman is not on PATH: apt-get install podman netavark catatonit")
	}
	return &podman{dir: dir, yaml: filepath.Join(dir, "pod.yaml"), before: listTraces(ctx)}, nil
}

// prepare gives podman its files and the image.
func (p *podman) prepare(ctx context.Context, image string) error {
	pod, err := yaml.Marshal(benchPod("bench"))
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.MkdirAll(p.dir, 0o700),
		os.WriteFile(p.yaml, pod, 0o600),
		os.WriteFile(p.runtime(), []byte(noLimits), 0o700), //nolint:gosec // podman runs it
	); err != nil {
		return err
	}
	return p.command(ctx, "load", "-i", image)
}

func (p *podman) runtime() string { return filepath.Join(p.dir, "runc-without-limits") }

func (p *podman) args(args ...string) []string {
	own := []string{
		"--root", filepath.Join(p.dir, "root"), "--runroot", filepath.Join(p.dir, "run"), "--tmpdir", filepath.Join(p.dir, "tmp"),
		"--network-config-dir", filepath.Join(p.dir, "networks"), "--cgroup-manager", "cgroupfs", "--storage-driver", "overlay",
	}
	if !raisesLimits() {
		own = append(own, "--runtime", p.runtime())
	} else {
		own = append(own, "--runtime", "runc")
	}
	return append(own, args...)
}

// raisesLimits tries what podman's containers need.
func raisesLimits() bool {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return false
	}
	want := unix.Rlimit{Cur: l.Cur, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &want); err != nil {
		return false
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l) == nil
}

func (p *podman) command(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "podman", p.args(args...)...)
	out, err := cmd.CombinedOutput()
	// kube play exits 0 although containers did not start.
	if err == nil && strings.Contains(string(out), "failed to start") {
		err = errors.New("containers failed to start")
	}
	if err != nil {
		return fmt.Errorf("podman %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// once plays the pod and removes it; it returns how long the play took, after
// which podman has started every container.
func (p *podman) once(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := p.command(ctx, "kube", "play", p.yaml); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, p.command(ctx, "kube", "down", p.yaml)
}

// destroy removes what there is, also where newPodman has failed.
func (p *podman) destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	err := p.command(ctx, "pod", "rm", "--all", "--force", "--time", "0")
	_ = unix.Unmount(filepath.Join(p.dir, "root", "overlay"), unix.MNT_DETACH)
	return errors.Join(err, removeSince(ctx, p.before))
}
