package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// The reasons why a node will not do, in the words that Kubernetes' clients
// know. ReasonNotReady stands where Kubernetes would report the taint that its
// node controller writes.
const (
	ReasonUnschedulable = "node(s) were unschedulable"
	ReasonNotReady      = "node(s) were not ready"
	ReasonTaint         = "node(s) had untolerated taint(s)"
	ReasonNodeSelector  = "node(s) didn't match Pod's node affinity/selector"
	ReasonHostPorts     = "node(s) didn't have free ports for the requested pod ports"
	ReasonTooManyPods   = "Too many pods"

	reasonInsufficient = "Insufficient "
)

// ReasonNodeNames stands for the nodes that a pod's affinity leaves out by
// naming others.
const ReasonNodeNames = "node(s) didn't satisfy plugin(s) [NodeAffinity]"

// why is a reason and whether it lasts whatever pods leave the node.
type why struct {
	reason  string
	lasting bool
}

// request is a pod as the filters see it, worked out once for all nodes.
type request struct {
	demand
	pod         *corev1.Pod
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
	preferred   *nodeaffinity.PreferredSchedulingTerms
	// names are the only nodes that the affinity allows; nil for all.
	names      map[string]bool
	neighbours *neighbours
	// spread are the constraints to keep, prefer those to follow where
	// possible.
	spread, prefer *spreads
	volumes        *needs
}

// requestOf reads the pod. What it costs beyond that is paid only by pods that
// care about others, or in clusters with pods that do.
func requestOf(p *corev1.Pod, s *Snapshot) (*request, error) {
	r := &request{
		pod:         p,
		demand:      demandOf(p),
		tolerations: p.Spec.Tolerations,
		affinity:    nodeaffinity.GetRequiredNodeAffinity(p),
		names:       namedNodes(p),
		volumes:     needsOf(p, s),
	}
	var err error
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
		r.preferred, err = nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		if err != nil {
			return nil, fmt.Errorf("evaluate preferred node affinity: %w", err)
		}
	}
	if r.neighbours, err = neighboursOf(p, s); err != nil {
		return nil, fmt.Errorf("evaluate pod affinity: %w", err)
	}
	if r.spread, err = spreadsOf(r, p, s, corev1.DoNotSchedule); err == nil {
		r.prefer, err = spreadsOf(r, p, s, corev1.ScheduleAnyway)
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate topology spread constraints: %w", err)
	}
	return r, nil
}

// namedNodes returns the nodes that every term of the pod's affinity picks by
// name; nil where a term does not, and so may be about any node.
func namedNodes(p *corev1.Pod) map[string]bool {
	a := p.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	names := map[string]bool{}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		var of []string
		for _, f := range term.MatchFields {
			if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if of == nil {
				of = f.Values
				continue
			}
			of = slices.DeleteFunc(slices.Clone(of), func(n string) bool { return !slices.Contains(f.Values, n) })
		}
		if of == nil {
			return nil
		}
		for _, n := range of {
			names[n] = true
		}
	}
	return names
}

// tolerates reports whether the pod may run beside the taint.
func (r *request) tolerates(t *corev1.Taint) bool {
	return schedulinghelper.TolerationsTolerateTaint(klog.Logger{}, r.tolerations, t, true)
}

// filter calls reject with every reason of the first check that the node
// fails, and never where it passes all. Checks that need no sums come first.
func (r *request) filter(n *nodeInfo, reject func(why)) error {
	rejected := false
	no := func(w why) { rejected = true; reject(w) }
	if err := r.filterNode(n, no); err != nil || rejected {
		return err
	}
	for _, hp := range r.ports {
		if n.ports.conflicts(hp) {
			reject(why{reason: ReasonHostPorts})
			return nil
		}
	}
	if r.filterAmounts(n, no); rejected {
		return nil
	}
	if r.volumes.filter(n.node, no); rejected {
		return nil
	}
	if r.spread.filter(n.node, no); rejected {
		return nil
	}
	r.neighbours.filter(n.node, no)
	return nil
}

// filterNode checks what no other pod has a part in.
func (r *request) filterNode(n *nodeInfo, reject func(why)) error {
	lasting := func(reason string) { reject(why{reason: reason, lasting: true}) }
	if r.names != nil && !r.names[n.name] {
		lasting(ReasonNodeNames)
		return nil
	}
	if n.node.Spec.Unschedulable && !r.tolerates(&corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
	}) {
		lasting(ReasonUnschedulable)
		return nil
	}
	if n.unready != nil && !r.tolerates(n.unready) {
		lasting(ReasonNotReady)
		return nil
	}
	for i := range n.hard {
		if !r.tolerates(&n.hard[i]) {
			lasting(ReasonTaint)
			return nil
		}
	}
	match, err := r.affinity.Match(n.node)
	if err == nil && !match {
		lasting(ReasonNodeSelector)
	}
	return err
}

// filterAmounts checks that what the pod asks for is left. Something that the
// pod does not ask for is not checked, even on a node that has promised more
// than it has.
func (r *request) filterAmounts(n *nodeInfo, reject func(why)) {
	if n.pods+1 > n.maxPods {
		reject(why{reason: ReasonTooManyPods})
	}
	want, have, used := &r.requests, &n.allocatable, &n.used
	check := func(name corev1.ResourceName, want, have, used int64) {
		if want > 0 && want > have-used {
			// More than the node has is not to be had by waiting.
			reject(why{reason: reasonInsufficient + string(name), lasting: want > have})
		}
	}
	check(corev1.ResourceCPU, want.milliCPU, have.milliCPU, used.milliCPU)
	check(corev1.ResourceMemory, want.memory, have.memory, used.memory)
	check(corev1.ResourceEphemeralStorage, want.storage, have.storage, used.storage)
	for name, amount := range want.other {
		check(name, amount, have.other[name], used.other[name])
	}
}
