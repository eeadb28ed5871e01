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
	// Conflict, if set, is a contradiction in the pod itself and stands
	// for all reasons.
	Conflict string
	// Open are the nodes that would do if the right pods left them.
	Open []string
	// Preemption tells what came of the search for such pods; see Preempt.
	Preemption string
}

// Error returns the message in Kubernetes' form:
// "0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods."
func (e *FitError) Error() string {
	msg := fmt.Sprintf("0/%d nodes are available:", e.Nodes)
	if e.Conflict != "" {
		msg += " " + e.Conflict + "."
	} else if list := histogram(e.Reasons); list != "" {
		msg += " " + list + "."
	}
	if e.Preemption != "" {
		msg += " preemption: " + e.Preemption
	}
	return msg
}

// histogram lists counts and reasons.
func histogram(reasons map[string]int) string {
	parts := make([]string, 0, len(reasons))
	for reason, n := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	// By text, not by number: so Kubernetes orders them.
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// conflictOfNames is told where a pod's affinity names nodes and no node can
// have all the names of a term.
const conflictOfNames = "pod affinity terms conflict"

// Schedule chooses the node that suits the pod best. The error is ErrNoNodes, a
// *FitError, or says that the pod's selectors cannot be evaluated. Neither
// the pod nor the snapshot is changed; to count the pod against its new node,
// call Snapshot.SetPod. A pod that is already counted has to be removed first.
func Schedule(pod *corev1.Pod, snapshot *Snapshot) (Result, error) {
	if len(snapshot.known) == 0 {
		return Result{}, ErrNoNodes
	}
	r, err := requestOf(pod, snapshot)
	if err != nil {
		return Result{}, err
	}
	fit := &FitError{Nodes: len(snapshot.known), Reasons: map[string]int{}}
	if r.names != nil && len(r.names) == 0 {
		fit.Conflict = conflictOfNames
		return Result{}, fit
	}
	if r.volumes != nil && r.volumes.conflict != "" {
		fit.Conflict = r.volumes.conflict
		return Result{}, fit
	}
	c := choice{request: r}
	rejected, lasting := false, false
	reject := func(w why) {
		rejected, lasting = true, lasting || w.lasting
		fit.Reasons[w.reason]++
	}
	for _, n := range snapshot.known {
		rejected, lasting = false, false
		if err := r.filter(n, reject); err != nil {
			return Result{}, fmt.Errorf("evaluate node selector: %w", err)
		}
		switch {
		case !rejected:
			c.add(n)
		case !lasting:
			fit.Open = append(fit.Open, n.name)
		}
	}
	if c.feasible == 0 {
		return Result{}, fit
	}
	return Result{Node: c.best(), Evaluated: len(snapshot.known), Feasible: c.feasible}, nil
}

// Fits reports whether the pod could run on one of the named nodes now. It
// tells cheaply whether a change of these nodes is worth another Schedule.
func Fits(pod *corev1.Pod, snapshot *Snapshot, nodes ...string) bool {
	r, err := requestOf(pod, snapshot)
	if err != nil || r.volumes != nil && r.volumes.conflict != "" {
		return false
	}
	for _, name := range nodes {
		n := snapshot.nodes[name]
		if n == nil || n.node == nil {
			continue
		}
		fits := true
		err := r.filter(n, func(why) { fits = false })
		if err == nil && fits {
			return true
		}
	}
	return false
}

// Social reports whether the pod has wishes about what other pods do, also on
// other nodes than the one they change.
func Social(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	return len(pod.Spec.TopologySpreadConstraints) > 0 || a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil)
}
