// Command bench measures carob beside what a user would pick instead (`podman
// kube play`, docker compose, runc by hand) in turns, in one run, and writes
// docs/benchmarks.md with a picture of the start path. It runs the built binary
// and the others as a user would, each in directories of its own, and removes
// what they left, also when it fails or is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/testimage"
)

type options struct {
	bin, out string
	only     []string
	rounds   int
	divide   int
	watched  time.Duration
	calm     time.Duration
}

func main() {
	var o options
	only := flag.String("only", "", "sections to run, with commas between them: "+strings.Join(names(), ",")+" (default: all, and the page is written)")
	flag.StringVar(&o.bin, "bin", "bin/carob", "the carob to measure")
	flag.StringVar(&o.out, "out", "", "page to write, its picture beside it (default with all sections: docs/benchmarks.md)")
	flag.IntVar(&o.rounds, "rounds", 30, "how often each is measured, in turns")
	flag.IntVar(&o.divide, "divide", 1, "divide the numbers of pods and jobs, to try a section")
	flag.DurationVar(&o.watched, "idle", 5*time.Minute, "how long an idle carob is watched, twice that for what it writes to its disk; what comes by itself comes every five minutes, heartbeats every ten")
	flag.DurationVar(&o.calm, "calm", 30*time.Second, "how long before that it is left alone; etcd tidies up after work for up to ten minutes")
	flag.Parse()
	if err := o.complete(*only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func (o *options) complete(only string) error {
	if o.rounds < 1 || o.divide < 1 {
		return errors.New("-rounds and -divide must be at least 1")
	}
	if only == "" {
		o.only = names()
		if o.out == "" {
			o.out = "docs/benchmarks.md"
		}
		return nil
	}
	for _, n := range strings.Split(only, ",") {
		if n = strings.TrimSpace(n); !slices.Contains(names(), n) {
			return fmt.Errorf("-only: there is no section %q, but %s", n, strings.Join(names(), ", "))
		}
		o.only = append(o.only, n)
	}
	return nil
}

// bench is one run: what the sections share.
type bench struct {
	options
	dir, image string
	report     report
	shared     *carob // of the sections about pods
	worker     *carob // of those about controllers
	play       *podman
	hand       *byHand
	undo       []func() error
}

// section is a group of measures that can be run by itself.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

// sections are in the order in which they run: what wants a carob that has
// done nothing yet comes first.
func sections() []section {
	return []section{
		{"up", (*bench).up},
		{"start", (*bench).start},
		{"exec", (*bench).exec},
		{"burst", (*bench).burst},
		{"dense", (*bench).dense},
		{"quiet", (*bench).quiet},
		{"logs", (*bench).logs},
		{"scale", (*bench).scale},
		{"rollout", (*bench).rollout},
		{"settled", (*bench).settled},
		{"jobs", (*bench).jobs},
	}
}

func names() []string {
	var all []string
	for _, s := range sections() {
		all = append(all, s.name)
	}
	return all
}

func run(ctx context.Context, o options) (err error) {
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	b := &bench{options: o}
	defer func() { err = errors.Join(err, b.destroy()) }()
	if b.dir, err = os.MkdirTemp("", "carob-bench-"); err != nil {
		return err
	}
	b.undo = append(b.undo, func() error { return os.RemoveAll(b.dir) })
	b.image = filepath.Join(b.dir, "image.tar")
	if err := writeImage(b.image); err != nil {
		return err
	}
	for _, s := range sections() {
		if !slices.Contains(o.only, s.name) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s ...\n", s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %v\n", s.name, time.Since(began).Round(time.Second))
	}
	b.report.machine = machine(ctx, o.bin)
	fmt.Print(b.report.markdown(o))
	if o.out == "" {
		return nil
	}
	return b.report.write(o)
}

// destroy undoes what was done, the last first.
func (b *bench) destroy() error {
	var errs []error
	for _, f := range slices.Backward(b.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// n is a number of pods, less where the run is a trial.
func (b *bench) n(full int) int { return max(1, full/b.divide) }

// carob returns the instance that the sections share; it is started at its
// first use.
func (b *bench) carob(ctx context.Context) (*carob, error) {
	if b.shared != nil {
		return b.shared, nil
	}
	c, err := b.newCarob(ctx, "carob")
	if err != nil {
		return nil, err
	}
	b.shared = c
	return c, nil
}

// newCarob starts an instance with the image that has room for many pods. It
// ends with the run, at the latest.
func (b *bench) newCarob(ctx context.Context, name string) (*carob, error) {
	c, err := newCarob(b.bin, filepath.Join(b.dir, name))
	if err != nil {
		return nil, err
	}
	b.undo = append(b.undo, c.destroy)
	if _, err := c.up(ctx); err != nil {
		return nil, err
	}
	return c, c.importImage(ctx, b.image)
}

func writeImage(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(testimage.WriteTar(f, testimage.DefaultName, testimage.Options{}), f.Close())
}

// settle waits until what was just done no longer shows: it is part of the
// measurement, not of a wait for an event.
func settle(ctx context.Context, long time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(long):
		return nil
	}
}

const settleTime = 10 * time.Second
