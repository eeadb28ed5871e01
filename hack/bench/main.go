// Command bench measures carob beside `podman kube play` of the same YAML, in
// one run, and writes docs/benchmarks.md. It runs the built binary and podman
// as a user would, each in directories of its own, and removes what they left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/testimage"
)

type options struct {
	bin, out string
	rounds   int
	pods     int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/carob", "the carob to measure")
	flag.StringVar(&o.out, "out", "docs/benchmarks.md", "file to write; empty: none")
	flag.IntVar(&o.rounds, "rounds", 50, "pods started by each, in turn")
	flag.IntVar(&o.pods, "pods", 20, "idle pods beside which memory is read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "carob-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	image := filepath.Join(dir, "image.tar")
	if err := writeImage(image); err != nil {
		return err
	}
	if _, err := exec.LookPath("podman"); err != nil {
		return errors.New("podman is not on PATH: apt-get install podman netavark catatonit")
	}
	c := newCarob(bin, filepath.Join(dir, "carob"))
	defer func() { err = errors.Join(err, c.destroy()) }()
	p := newPodman(ctx, filepath.Join(dir, "podman"))
	defer func() { err = errors.Join(err, p.destroy()) }()
	var r report
	if r.cold, err = c.up(ctx); err != nil {
		return err
	}
	if err := c.importImage(ctx, image); err != nil {
		return err
	}
	if err := p.prepare(ctx, image); err != nil {
		return err
	}
	if r.idle, err = settled(ctx, c); err != nil {
		return err
	}
	if err := rounds(ctx, o.rounds, c, p, &r); err != nil {
		return err
	}
	if err := loaded(ctx, o.pods, c, &r); err != nil {
		return err
	}
	if r.warm, err = c.restart(ctx); err != nil {
		return err
	}
	r.pods = o.pods
	r.gatherMachine(ctx, bin)
	fmt.Print(r.markdown())
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(r.markdown()), 0o600)
}

func writeImage(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(testimage.WriteTar(f, testimage.DefaultName, testimage.Options{}), f.Close())
}

// rounds lets carob and podman take turns, so that what else the machine does
// falls on both.
func rounds(ctx context.Context, n int, c *carob, p *podman, r *report) error {
	const warmUp = 2
	for i := range n + warmUp {
		start, end, err := c.once(ctx, i)
		if err != nil {
			return fmt.Errorf("carob, round %d: %w", i, err)
		}
		podman, err := p.once(ctx)
		if err != nil {
			return fmt.Errorf("podman, round %d: %w", i, err)
		}
		if i < warmUp {
			continue
		}
		r.start = append(r.start, start)
		r.delete = append(r.delete, end)
		r.podman = append(r.podman, podman)
	}
	return nil
}

// settled reads carob's memory when it has had nothing to do for a while.
func settled(ctx context.Context, c *carob) (footprint, error) {
	if err := settle(ctx); err != nil {
		return footprint{}, err
	}
	return memoryOf(c.pid())
}

// loaded starts pods at once and reads what carob needs while they idle.
func loaded(ctx context.Context, pods int, c *carob, r *report) error {
	began := time.Now()
	if err := c.many(ctx, pods); err != nil {
		return err
	}
	r.atOnce = time.Since(began)
	var err error
	if r.loaded, err = settled(ctx, c); err != nil {
		return err
	}
	at := time.Now()
	before, err := used(c.pid())
	if err != nil {
		return err
	}
	for range 3 {
		if err := settle(ctx); err != nil {
			return err
		}
	}
	after, err := used(c.pid())
	if err != nil {
		return err
	}
	r.idleCPU = 100 * (after.cpu - before.cpu).Seconds() / time.Since(at).Seconds()
	r.idleWrites = after.written - before.written
	return nil
}

// settle waits until what was just done no longer shows: it is part of the
// measurement, not of a wait for an event.
func settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return nil
	}
}
