package daemonset

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// pair is the pods of a node in a rollout. What is leaving does not count.
type pair struct{ fresh, old *corev1.Pod }

// pairs returns the pods by node, of every node that has or should have one.
// Nodes with more pods than a rollout knows are those of crowded: they are
// thinned out first.
func (p *plan) pairs() (pairs map[string]pair, crowded int) {
	pairs = map[string]pair{}
	for node, fits := range p.fits {
		if fits.run {
			pairs[node] = pair{}
		}
	}
	for node, pods := range p.byNode {
		var x pair
		twice := false
		for _, pod := range present(pods) {
			slot := &x.old
			if p.updated(pod) {
				slot = &x.fresh
			}
			twice = twice || *slot != nil
			*slot = pod
		}
		if twice {
			crowded++
			delete(pairs, node)
			continue
		}
		pairs[node] = x
	}
	return pairs, crowded
}

// roll replaces pods of older templates within the limits.
func (p *plan) roll() {
	surge, unavailable := p.limits()
	if surge > 0 {
		p.rollBySurge(surge)
	} else {
		p.rollInPlace(unavailable)
	}
}

// rollInPlace removes old pods; a later look makes the new ones. Old pods that
// are not available are no loss.
func (p *plan) rollInPlace(limit int) {
	pairs, missing := p.pairs()
	var candidates []*corev1.Pod
	for _, node := range slices.Sorted(maps.Keys(pairs)) {
		x := pairs[node]
		switch {
		case (x.fresh == nil) == (x.old == nil):
			missing++
		case x.fresh != nil:
			if !p.available(x.fresh) {
				missing++
			}
		case p.available(x.old):
			candidates = append(candidates, x.old)
		default:
			missing++
			p.remove(x.old)
		}
	}
	p.remove(candidates[:min(max(limit-missing, 0), len(candidates))]...)
}

// rollBySurge makes new pods beside old ones, and removes an old one when the
// new one is available.
func (p *plan) rollBySurge(limit int) {
	pairs, surging := p.pairs()
	available := 0
	var candidates []string
	var misplaced []*corev1.Pod
	for _, node := range slices.Sorted(maps.Keys(pairs)) {
		x := pairs[node]
		serves := x.old
		if serves == nil {
			serves = x.fresh
		}
		ok := serves != nil && p.available(serves)
		if ok {
			available++
		}
		switch {
		case x.old == nil: // the rest of the work is that of manage
		case x.fresh != nil && p.available(x.fresh):
			p.remove(x.old)
		case x.fresh != nil:
			surging++
		case !p.fits[node].run && ok:
			misplaced = append(misplaced, x.old)
		case !p.fits[node].run:
			p.remove(x.old)
		case ok:
			candidates = append(candidates, node)
		default:
			p.create(node)
		}
	}
	// A pod where none should be any more goes when the others suffice.
	p.remove(misplaced[:min(max(available-p.desired, 0), len(misplaced))]...)
	for _, node := range candidates[:min(max(limit-surging, 0), len(candidates))] {
		p.create(node)
	}
}
