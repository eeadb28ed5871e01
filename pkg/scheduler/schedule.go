package scheduler

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ErrNoNodes: there is no node at all.
var ErrNoNodes = errors.New("no nodes available to schedule pods")

// Result is a successful choice.
type Result struct {
	// Node is the name of the chosen node.
	Node string
	// Evaluated is how many nodes were looked at, Feasible how many of them
	// would have done.
	Evaluated, Feasible int
}

// FitError says that no node will do, and why.
type FitError struct {
	// Nodes is how many nodes there are.
	Nodes int
	// Reasons counts the nodes by reason. A node that lacks several
	// resources is counted under each.
	Reasons map[string]int
}

// Error returns the message in Kubernetes' form:
// "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
func (e *FitError) Error() string {
	parts := make([]string, 0, len(e.Reasons))
	for reason, n := range e.Reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	// By text, not by number: so Kubernetes orders them.
	slices.Sort(parts)
	msg := fmt.Sprintf("0/%d nodes are available:", e.Nodes)
	if len(parts) > 0 {
		msg += " " + strings.Join(parts, ", ") + "."
	}
	return msg
}

// Schedule chooses the node that suits the pod best. The error is ErrNoNodes, a
// *FitError, or says that the pod's node selector cannot be evaluated. Neither
// the pod nor the snapshot is changed; to count the pod against its new node,
// call Snapshot.SetPod. A pod that is already counted has to be removed first.
func Schedule(pod *corev1.Pod, snapshot *Snapshot) (Result, error) {
	if len(snapshot.known) == 0 {
		return Result{}, ErrNoNodes
	}
	r := requestOf(pod)
	reasons := map[string]int{}
	rejected := false
	reject := func(reason string) {
		rejected = true
		reasons[reason]++
	}
	var best rank
	res := Result{Evaluated: len(snapshot.known)}
	for _, n := range snapshot.known {
		rejected = false
		if err := r.filter(n, reject); err != nil {
			return Result{}, fmt.Errorf("evaluate node selector: %w", err)
		}
		if rejected {
			continue
		}
		res.Feasible++
		if k := r.rankOf(n); res.Feasible == 1 || k.better(best) {
			best = k
		}
	}
	if res.Feasible == 0 {
		return Result{}, &FitError{Nodes: len(snapshot.known), Reasons: reasons}
	}
	res.Node = best.name
	return res, nil
}

// Fits reports whether the pod could run on one of the named nodes now. It
// tells cheaply whether a change of these nodes is worth another Schedule.
func Fits(pod *corev1.Pod, snapshot *Snapshot, nodes ...string) bool {
	r := requestOf(pod)
	for _, name := range nodes {
		n := snapshot.nodes[name]
		if n == nil || n.node == nil {
			continue
		}
		fits := true
		err := r.filter(n, func(string) { fits = false })
		if err == nil && fits {
			return true
		}
	}
	return false
}
