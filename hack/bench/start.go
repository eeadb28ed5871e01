package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// contender is one way to start two containers that share a network.
type contender struct {
	name string
	// once starts them, removes them again, and returns how long the start
	// took.
	once func(context.Context) (time.Duration, error)
	took []time.Duration
}

// carobStarts are what carob's rounds tell beside their length.
type carobStarts struct {
	b                   *bench
	c                   *carob
	events              *events
	round               int
	cpu, life           []time.Duration
	objectGone, allGone []time.Duration
	path                path
}

// once is a round of carob's.
func (r *carobStarts) once(ctx context.Context) (time.Duration, error) {
	r.round++
	p := benchPod(fmt.Sprintf("bench-%d", r.round))
	before, err := r.c.meter.cpu()
	if err != nil {
		return 0, err
	}
	s, err := r.c.startPod(ctx, p)
	if err != nil {
		return 0, err
	}
	after, err := r.c.meter.cpu()
	if err != nil {
		return 0, err
	}
	var evs []event
	if r.events != nil {
		if evs, err = r.events.take(ctx, string(s.uid), "/tasks/start", len(p.Spec.Containers)); err != nil {
			return 0, err
		}
	}
	phases := r.c.phasesOf(s, evs)
	object, all, err := r.c.deletePod(ctx, s, p.Name)
	if err != nil {
		return 0, err
	}
	end, err := r.c.meter.cpu()
	if err != nil {
		return 0, err
	}
	if r.round > warmUp {
		r.path.add(phases)
		r.cpu, r.life = append(r.cpu, after-before), append(r.life, end-before)
		r.objectGone, r.allGone = append(r.objectGone, object), append(r.allGone, all)
	}
	return s.took(), nil
}

// warmUp are rounds that do not count.
const warmUp = 2

// start lets all take turns, so that what else the machine does falls on each.
func (b *bench) start(ctx context.Context) error {
	c, err := b.carob(ctx)
	if err != nil {
		return err
	}
	starts := &carobStarts{b: b, c: c}
	if starts.events, err = watchEvents(c.containerd()); err != nil {
		return err
	}
	defer starts.events.stop()
	all := []*contender{{name: "carob: create call until a watch sees both containers running", once: starts.once}}
	others, err := b.others(ctx, c)
	if err != nil {
		return err
	}
	all = append(all, others...)
	for i := range b.rounds + warmUp {
		for _, who := range all {
			took, err := who.once(ctx)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", who.name, i, err)
			}
			if i >= warmUp {
				who.took = append(who.took, took)
			}
		}
	}
	b.report.starts = all
	b.report.phases = starts.path.medians()
	b.startRows(starts, all)
	return nil
}

// others prepares what carob is compared with.
func (b *bench) others(ctx context.Context, c *carob) ([]*contender, error) {
	p, err := b.podman(ctx)
	if err != nil {
		return nil, err
	}
	all := []*contender{{name: namePodman, once: p.once}}
	d := newDocker(filepath.Join(b.dir, "docker"))
	b.undo = append(b.undo, d.destroy)
	switch err := d.prepare(ctx, b.image); {
	case errors.Is(err, errNoDocker):
		b.report.note("docker compose: %v", err)
		fmt.Fprintf(os.Stderr, "bench: docker compose: %v\n", err)
	case err != nil:
		return nil, err
	default:
		all = append(all, &contender{name: "docker compose `up -d` of two such services that share a network", once: d.once})
	}
	r, err := b.runc(ctx, c)
	if err != nil {
		return nil, err
	}
	return append(all, &contender{name: nameRunc, once: func(ctx context.Context) (time.Duration, error) {
		took, err := r.once(ctx)
		return took, errors.Join(err, r.remove(ctx))
	}}), nil
}

const (
	namePodman = "`podman kube play` of the same YAML"
	nameRunc   = "`runc create` and `runc start` of the same two bundles, by hand"
)

func (b *bench) podman(ctx context.Context) (*podman, error) {
	if b.play != nil {
		return b.play, nil
	}
	p, err := newPodman(ctx, filepath.Join(b.dir, "podman"))
	if err != nil {
		return nil, err
	}
	b.undo = append(b.undo, p.destroy)
	b.play = p
	return p, p.prepare(ctx, b.image)
}

// runc prepares the bundles of a pod that stays until the end.
func (b *bench) runc(ctx context.Context, c *carob) (*byHand, error) {
	if b.hand != nil {
		return b.hand, nil
	}
	model, err := c.startPod(ctx, benchPod("model"))
	if err != nil {
		return nil, err
	}
	r := newByHand(filepath.Join(b.dir, "runc"))
	b.undo = append(b.undo, r.destroy)
	b.hand = r
	return r, r.prepare(ctx, c, model, b.image)
}

func (b *bench) startRows(s *carobStarts, all []*contender) {
	r := &b.report
	carob := all[0].took
	for _, who := range all[1:] {
		switch who.name {
		case namePodman:
			r.row("start of a pod of two containers, image present, against `podman kube play`", fmt.Sprintf("%.2f", ratio(median(carob), median(who.took))), "at most 0.25", ratio(median(carob), median(who.took)) <= 0.25)
		case nameRunc:
			r.row("the same against runc by hand", fmt.Sprintf("%.2f", ratio(median(carob), median(who.took))), "at most 2", ratio(median(carob), median(who.took)) <= 2)
		}
	}
	spread := ratio(p99(carob), median(carob))
	r.row("its p99 against its median", fmt.Sprintf("%.2f", spread), "at most 2.5", spread <= 2.5)
	r.row("CPU time a start (carob, containerd, shims, runc, plugins, containers)", ms(median(s.cpu)), "at most 150 ms", median(s.cpu) <= 150*time.Millisecond)
	r.row("CPU time a life, deletion with it", ms(median(s.life)), "", true)
	r.row("delete with grace 1 s (processes that ignore SIGTERM) until the object is gone", ms(median(s.objectGone)), "", true)
	r.row("... until its processes are gone too", ms(median(s.allGone)), "at most 1300 ms", median(s.allGone) <= 1300*time.Millisecond)
}
