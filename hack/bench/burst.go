package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"
)

// podmanAtATime is how many `podman kube play` run beside each other.
const podmanAtATime = 8

// burst starts many pods at once, with each.
func (b *bench) burst(ctx context.Context) error {
	c, err := b.carob(ctx)
	if err != nil {
		return err
	}
	p, err := b.podman(ctx)
	if err != nil {
		return err
	}
	n := b.n(100)
	before, err := c.meter.cpu()
	if err != nil {
		return err
	}
	took, err := c.startPods(ctx, numbered("burst", 1, n, "a", "b"), n)
	if err != nil {
		return err
	}
	after, err := c.meter.cpu()
	if err != nil {
		return err
	}
	if err := c.clear(ctx, "burst-"); err != nil {
		return err
	}
	theirs, err := p.many(ctx, n, podmanAtATime)
	if err != nil {
		return err
	}
	b.report.row(fmt.Sprintf("%d such pods created at once, until all run, against podman, %d at a time: %s", n, podmanAtATime, seconds(theirs)),
		fmt.Sprintf("%s, %.2f", seconds(took), ratio(took, theirs)), "at most 0.33", ratio(took, theirs) <= 1.0/3)
	b.report.row("CPU time of that a pod, and cores in use meanwhile", fmt.Sprintf("%s, %.1f", ms((after-before)/time.Duration(n)), ratio(after-before, took)), "", true)
	return nil
}

// many plays pods beside each other, removes them, and returns how long the
// plays took.
func (p *podman) many(ctx context.Context, n, atATime int) (time.Duration, error) {
	files := make([]string, n)
	for i := range files {
		files[i] = filepath.Join(p.dir, fmt.Sprintf("many-%d.yaml", i))
		data, err := yaml.Marshal(benchPod(fmt.Sprintf("many-%d", i)))
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(files[i], data, 0o600); err != nil {
			return 0, err
		}
	}
	each := func(verb string) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(atATime)
		for _, f := range files {
			g.Go(func() error { return p.command(ctx, "kube", verb, f) })
		}
		return g.Wait()
	}
	began := time.Now()
	if err := each("play"); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, each("down")
}
