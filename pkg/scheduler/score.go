package scheduler

import (
	"math"
	"slices"
)

// full is the score of an empty, perfectly balanced part of a node. Integers
// keep the choice the same on every architecture.
const full = 10000

// wishWeight is what a kind of preference counts, against the two parts of a
// node's own score.
const wishWeight = 2

// choice keeps the feasible nodes, or only the best where the pod has no
// preferences that need a comparison of all.
type choice struct {
	request  *request
	feasible int
	top      rank
	ranks    []rank
	nodes    []*nodeInfo
}

func (c *choice) add(n *nodeInfo) {
	c.feasible++
	k := c.request.rankOf(n)
	if c.request.wishes() {
		c.ranks, c.nodes = append(c.ranks, k), append(c.nodes, n)
		return
	}
	if c.feasible == 1 || k.better(c.top) {
		c.top = k
	}
}

// best returns the name of the best node.
func (c *choice) best() string {
	if len(c.ranks) == 0 {
		return c.top.name
	}
	c.weighNodes()
	c.weighNeighbours()
	c.weighSpread()
	top := c.ranks[0]
	for _, k := range c.ranks[1:] {
		if k.better(top) {
			top = k
		}
	}
	return top.name
}

// wishes says whether anybody has preferences about where the pod is.
func (r *request) wishes() bool {
	return r.preferred != nil || r.prefer != nil || r.neighbours != nil && len(r.neighbours.liked) > 0
}

// weighNodes adds what the pod likes of the nodes themselves; the best gets all.
func (c *choice) weighNodes() {
	if c.request.preferred == nil {
		return
	}
	raw, most := make([]int64, len(c.nodes)), int64(0)
	for i, n := range c.nodes {
		raw[i] = c.request.preferred.Score(n.node)
		most = max(most, raw[i])
	}
	for i := range raw {
		if most > 0 {
			c.ranks[i].score += wishWeight * full * raw[i] / most
		}
	}
}

// weighNeighbours adds what pods like of each other, from none for the worst to
// all for the best.
func (c *choice) weighNeighbours() {
	if c.request.neighbours == nil {
		return
	}
	raw := make([]int64, len(c.nodes))
	for i, n := range c.nodes {
		raw[i] = c.request.neighbours.score(n.node)
	}
	least, most := slices.Min(raw), slices.Max(raw)
	for i := range raw {
		if most > least {
			c.ranks[i].score += wishWeight * full * (raw[i] - least) / (most - least)
		}
	}
}

// weighSpread adds how empty the node's domains are of pods of the same kind.
func (c *choice) weighSpread() {
	if c.request.prefer == nil {
		return
	}
	raw, has := make([]int64, len(c.nodes)), make([]bool, len(c.nodes))
	least, most := int64(math.MaxInt64), int64(0)
	for i, n := range c.nodes {
		if raw[i], has[i] = c.request.prefer.load(n.node); has[i] {
			least, most = min(least, raw[i]), max(most, raw[i])
		}
	}
	for i := range raw {
		switch {
		case !has[i]:
		case most == 0:
			c.ranks[i].score += wishWeight * full
		default:
			c.ranks[i].score += int64(wishWeight * full * (float64(most+least-raw[i]) / float64(most)))
		}
	}
}

// rank is how good a feasible node is; see better.
type rank struct {
	// unwelcome counts the PreferNoSchedule taints that the pod does not
	// tolerate.
	unwelcome int
	// score is up to full for a node with much left, and up to full again
	// for one whose CPU and memory would be used up evenly.
	score int64
	pods  int64
	name  string
}

// rankOf rates the node as it would be with the pod on it.
func (r *request) rankOf(n *nodeInfo) rank {
	out := rank{pods: n.pods, name: n.name}
	for i := range n.soft {
		if !r.tolerates(&n.soft[i]) {
			out.unwelcome++
		}
	}
	cpu := usedShare(n.weightCPU+r.weightCPU, n.allocatable.milliCPU)
	memory := usedShare(n.weightMemory+r.weightMemory, n.allocatable.memory)
	free := full - (cpu+memory)/2
	balance := full - max(cpu-memory, memory-cpu)/2
	out.score = free + balance
	return out
}

// usedShare returns used/total in parts of full, at most full.
func usedShare(used, total int64) int64 {
	if total <= 0 || used >= total {
		return full
	}
	return int64(float64(used) / float64(total) * full)
}

// better reports whether a is to be preferred to b: fewer unwelcoming taints,
// then the higher score, then fewer pods, then the name, so that there is
// always one best node.
func (a rank) better(b rank) bool {
	switch {
	case a.unwelcome != b.unwelcome:
		return a.unwelcome < b.unwelcome
	case a.score != b.score:
		return a.score > b.score
	case a.pods != b.pods:
		return a.pods < b.pods
	}
	return a.name < b.name
}
