package scheduler

import (
	corev1 "k8s.io/api/core/v1"
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

// request is a pod as the filters see it, worked out once for all nodes.
type request struct {
	demand
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
}

func requestOf(p *corev1.Pod) request {
	return request{
		demand:      demandOf(p),
		tolerations: p.Spec.Tolerations,
		affinity:    nodeaffinity.GetRequiredNodeAffinity(p),
	}
}

// tolerates reports whether the pod may run beside the taint. The numeric
// operators are not served by the API, hence false.
func (r *request) tolerates(t *corev1.Taint) bool {
	return schedulinghelper.TolerationsTolerateTaint(klog.Logger{}, r.tolerations, t, false)
}

// filter calls reject with every reason of the first check that the node
// fails, and never where it passes all. Checks that need no sums come first.
func (r *request) filter(n *nodeInfo, reject func(reason string)) error {
	if n.node.Spec.Unschedulable && !r.tolerates(&corev1.Taint{
		Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule,
	}) {
		reject(ReasonUnschedulable)
		return nil
	}
	if n.unready != nil && !r.tolerates(n.unready) {
		reject(ReasonNotReady)
		return nil
	}
	for i := range n.hard {
		if !r.tolerates(&n.hard[i]) {
			reject(ReasonTaint)
			return nil
		}
	}
	match, err := r.affinity.Match(n.node)
	if err != nil {
		return err
	}
	if !match {
		reject(ReasonNodeSelector)
		return nil
	}
	for _, hp := range r.ports {
		if n.ports.conflicts(hp) {
			reject(ReasonHostPorts)
			return nil
		}
	}
	r.filterAmounts(n, reject)
	return nil
}

// filterAmounts checks that what the pod asks for is left. Something that the
// pod does not ask for is not checked, even on a node that has promised more
// than it has.
func (r *request) filterAmounts(n *nodeInfo, reject func(reason string)) {
	if n.pods+1 > n.maxPods {
		reject(ReasonTooManyPods)
	}
	want, have, used := &r.requests, &n.allocatable, &n.used
	if want.milliCPU > 0 && want.milliCPU > have.milliCPU-used.milliCPU {
		reject(reasonInsufficient + string(corev1.ResourceCPU))
	}
	if want.memory > 0 && want.memory > have.memory-used.memory {
		reject(reasonInsufficient + string(corev1.ResourceMemory))
	}
	if want.storage > 0 && want.storage > have.storage-used.storage {
		reject(reasonInsufficient + string(corev1.ResourceEphemeralStorage))
	}
	for name, amount := range want.other {
		if amount > 0 && amount > have.other[name]-used.other[name] {
			reject(reasonInsufficient + string(name))
		}
	}
}
