package scheduler

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// Why a node will not do because pods would be spread unevenly.
const (
	ReasonSpread      = "node(s) didn't match pod topology spread constraints"
	ReasonSpreadLabel = ReasonSpread + " (missing required label)"
)

// spreading is one constraint and the pods it is about, by the value of its
// topology key. Like neighbours it is kept up to date.
type spreading struct {
	pod        *corev1.Pod
	constraint *corev1.TopologySpreadConstraint
	selector   labels.Selector
	counts     map[string]int
	// least is the smallest count; it is valid while known is set.
	least int
	known bool
	self  int
}

// spreads are the constraints of one pod that are of one kind.
type spreads struct {
	of []*spreading
	// request says on which nodes the pod could be.
	request *request
}

// spreadsOf counts for the constraints of a pod whose action that is; nil where
// there are none.
func spreadsOf(r *request, p *corev1.Pod, s *Snapshot, action corev1.UnsatisfiableConstraintAction) (*spreads, error) {
	var out *spreads
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("label selector: %w", err)
		}
		if out == nil {
			out = &spreads{request: r}
		}
		sp := &spreading{pod: p, constraint: c, selector: selector, counts: map[string]int{}}
		if selector.Matches(labels.Set(p.Labels)) {
			sp.self = 1
		}
		out.of = append(out.of, sp)
	}
	if out == nil {
		return nil, nil //nolint:nilnil // most pods have none
	}
	out.countAll(s)
	return out, nil
}

func (s *spreads) countAll(snapshot *Snapshot) {
	for _, n := range snapshot.known {
		for _, sp := range s.of {
			if !s.counts(sp, n) {
				continue
			}
			value := n.node.Labels[sp.constraint.TopologyKey]
			sp.counts[value] += 0 // a domain without such pods is one, too
			for _, p := range n.on {
				if sp.about(p) {
					sp.counts[value]++
				}
			}
		}
	}
}

// about says whether a pod that runs is one of those to spread. One that is
// going is not.
func (sp *spreading) about(other *podInfo) bool {
	return other.pod.Namespace == sp.pod.Namespace && other.pod.UID != sp.pod.UID &&
		other.pod.DeletionTimestamp == nil && sp.selector.Matches(labels.Set(other.pod.Labels))
}

// counts says whether the node is one of those that the constraint is about: it
// has the labels of all constraints, and the pod could be there.
func (s *spreads) counts(sp *spreading, n *nodeInfo) bool {
	for _, other := range s.of {
		if _, ok := n.node.Labels[other.constraint.TopologyKey]; !ok {
			return false
		}
	}
	c := sp.constraint
	if ptr.Deref(c.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor) == corev1.NodeInclusionPolicyHonor {
		if match, err := s.request.affinity.Match(n.node); err != nil || !match {
			return false
		}
	}
	if ptr.Deref(c.NodeTaintsPolicy, corev1.NodeInclusionPolicyIgnore) == corev1.NodeInclusionPolicyHonor {
		for i := range n.hard {
			if !s.request.tolerates(&n.hard[i]) {
				return false
			}
		}
	}
	return true
}

// count adds a pod that runs, or with -1 takes it away.
func (s *spreads) count(other *podInfo, sign int) {
	if s == nil || other.node.node == nil {
		return
	}
	for _, sp := range s.of {
		if sp.about(other) && s.counts(sp, other.node) {
			sp.counts[other.node.node.Labels[sp.constraint.TopologyKey]] += sign
			sp.known = false
		}
	}
}

// filter rejects a node on which the pod would make the difference between its
// domain and the emptiest one too large.
func (s *spreads) filter(node *corev1.Node, reject func(why)) {
	if s == nil {
		return
	}
	for _, sp := range s.of {
		value, ok := node.Labels[sp.constraint.TopologyKey]
		if !ok {
			reject(why{reason: ReasonSpreadLabel, lasting: true})
			return
		}
		if sp.counts[value]+sp.self-sp.fewest() > int(sp.constraint.MaxSkew) {
			reject(why{reason: ReasonSpread})
			return
		}
	}
}

// fewest is the count of the emptiest domain; 0 while there are fewer domains
// than wanted.
func (sp *spreading) fewest() int {
	if sp.known {
		return sp.least
	}
	sp.known, sp.least = true, 0
	if len(sp.counts) == 0 || len(sp.counts) < int(ptr.Deref(sp.constraint.MinDomains, 1)) {
		return 0
	}
	sp.least = math.MaxInt
	for _, n := range sp.counts {
		sp.least = min(sp.least, n)
	}
	return sp.least
}

// load is how crowded the node's domains are; less is better. ok is false for a
// node that lacks a label and so comes last.
func (s *spreads) load(node *corev1.Node) (sum int64, ok bool) {
	for _, sp := range s.of {
		value, has := node.Labels[sp.constraint.TopologyKey]
		if !has {
			return 0, false
		}
		// The weight of a domain grows with their number, so that few zones
		// do not outweigh many nodes.
		weight := math.Log(float64(len(sp.counts) + 2))
		sum += int64(float64(sp.counts[value]) * weight * spreadUnit)
		sum += int64(sp.constraint.MaxSkew-1) * spreadUnit
	}
	return sum, true
}

const spreadUnit = 1000
