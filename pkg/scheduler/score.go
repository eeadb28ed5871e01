package scheduler

// full is the score of an empty, perfectly balanced part of a node. Integers
// keep the choice the same on every architecture.
const full = 10000

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
