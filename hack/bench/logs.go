package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const (
	logBlock = 64 // MiB, made once
	logTime  = 8 * time.Second
)

// logs measures how fast the output of one container is taken, with carob's
// data on a tmpfs, so that no disk is what is measured.
func (b *bench) logs(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2g,mode=0700"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	b.undo = append(b.undo, func() error {
		if err := unix.Unmount(dir, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		return nil
	})
	c, err := b.newCarob(ctx, "logs")
	if err != nil {
		return err
	}
	p := podOf("writer", "a")
	p.Spec.Containers[0].Command = []string{"sh", "-c", fmt.Sprintf(
		`yes 'a line of a hundred bytes, as programs write them, with a time and some words, until it is full.....' | head -c %dm > /mem/block
		while :; do cat /mem/block; done`, logBlock)}
	p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "mem", MountPath: "/mem"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
	writer, err := c.startPod(ctx, p)
	if err != nil {
		return err
	}
	// It begins with making the block.
	if err := settle(ctx, 2*time.Second); err != nil {
		return err
	}
	before, err := memoryOf(c.pid())
	if err != nil {
		return err
	}
	rate, peak, err := c.writing(ctx, string(writer.uid), logTime)
	if err != nil {
		return err
	}
	b.report.row(fmt.Sprintf("output of one container taken while it writes as fast as it can, on tmpfs, over %v", logTime),
		fmt.Sprintf("%.0f MiB/s", rate), "at least 200 MiB/s", rate >= 200)
	const flat = 32 << 10
	b.report.row("memory (Pss) of carob meanwhile, at most, and in the beginning", mib(peak)+", "+mib(before.pss), "32 MiB more at most", peak-before.pss <= flat)
	return c.destroy()
}

// writing returns how many MiB a second the containers of a pod write, and
// carob's largest memory meanwhile. A pipe holds 64 KiB: what was written to it
// has been read.
func (c *carob) writing(ctx context.Context, uid string, long time.Duration) (rate float64, peak int64, err error) {
	from, err := writtenIn(uid)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for time.Since(began) < long {
		if err := settle(ctx, 500*time.Millisecond); err != nil {
			return 0, 0, err
		}
		m, err := memoryOf(c.pid())
		if err != nil {
			return 0, 0, err
		}
		peak = max(peak, m.pss)
	}
	to, err := writtenIn(uid)
	return float64(to-from) / (1 << 20) / time.Since(began).Seconds(), peak, err
}

// writtenIn sums up what a pod's processes have written, and their children
// that have ended.
func writtenIn(uid string) (int64, error) {
	containers, _, err := processesOf(uid)
	var sum int64
	for _, pid := range containers {
		n, err := wroteOf(pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
		sum += n
	}
	return sum, err
}
