package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
)

// scaling says whether the deployment's size has changed since its sets were
// sized.
func (p *planner) scaling() bool {
	return slices.ContainsFunc(active(p.all()), func(rs *appsv1.ReplicaSet) bool {
		n, ok := noted(rs, annotationDesired)
		return ok && n != wanted(p.d)
	})
}

// scale brings the sets to the deployment's size and leaves the mix of
// templates as it is.
func (p *planner) scale() {
	if one := p.only(); one != nil {
		p.resizeIfNeeded(one, wanted(p.d))
		return
	}
	if p.saturated() {
		for _, rs := range active(p.old) {
			p.resizeIfNeeded(rs, 0)
		}
		return
	}
	if rolling(p.d) {
		p.spread()
	}
}

// only returns the one set that has replicas or, if none has, the latest.
func (p *planner) only() *appsv1.ReplicaSet {
	switch some := active(p.all()); {
	case len(some) == 1:
		return some[0]
	case len(some) > 1:
		return nil
	case p.current != nil:
		return p.current
	case len(p.old) > 0:
		return p.old[len(p.old)-1]
	default:
		return nil
	}
}

// saturated says whether the current set has all the pods that are wanted.
func (p *planner) saturated() bool {
	if p.current == nil {
		return false
	}
	n, ok := noted(p.current, annotationDesired)
	want := wanted(p.d)
	return ok && n == want && replicas(p.current) == want && available(p.current) == want
}

// spread shares the difference among the sets in proportion to their sizes.
// Growing starts with the largest and newest, shrinking with the largest and
// oldest; the first also takes what rounding leaves.
func (p *planner) spread() {
	sets := active(p.all())
	if len(sets) == 0 {
		return
	}
	var allowed int32
	if wanted(p.d) > 0 {
		allowed = wanted(p.d) + maxSurge(p.d)
	}
	diff := allowed - sum(sets, replicas)
	age := 1
	if diff > 0 {
		age = -1
	}
	if diff != 0 {
		slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
			return cmp.Or(cmp.Compare(replicas(b), replicas(a)), age*byAge(a, b))
		})
	}
	sizes := make([]int32, len(sets))
	var done int32
	for i, rs := range sets {
		part := p.part(rs, diff, done)
		sizes[i] = replicas(rs) + part
		done += part
	}
	sizes[0] = max(0, sizes[0]+diff-done)
	for i, rs := range sets {
		p.resize(rs, sizes[i])
	}
}

// part is the share of one set in a difference of which done is given out.
func (p *planner) part(rs *appsv1.ReplicaSet, diff, done int32) int32 {
	if diff == done || diff == 0 {
		return 0
	}
	share := p.share(rs)
	if diff > 0 {
		return min(share, diff-done)
	}
	return max(share, diff-done)
}

func (p *planner) share(rs *appsv1.ReplicaSet) int32 {
	if wanted(p.d) == 0 {
		return -replicas(rs)
	}
	before, ok := noted(rs, annotationMax)
	if !ok || before == 0 {
		if before = p.d.Status.Replicas; before == 0 {
			return 0
		}
	}
	size := float64(replicas(rs)) * float64(wanted(p.d)+maxSurge(p.d)) / float64(before)
	return int32(math.Round(size)) - replicas(rs)
}
