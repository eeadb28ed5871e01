package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
)

// What the search for victims ends with, in Kubernetes' words.
const (
	reasonNotHelpful = "Preemption is not helpful for scheduling"
	reasonNoVictims  = "No preemption victims found for incoming pod"
	toldNever        = "not eligible due to preemptionPolicy=Never."
	toldWaiting      = "not eligible due to a terminating pod on the nominated node."
)

// Nomination is a place that is being cleared for a pod.
type Nomination struct {
	Node string
	// Victims are the pods that have been told to leave.
	Victims []types.UID
}

// Preemption is what Preempt decided.
type Preemption struct {
	// Node is the node to clear; empty if there is none.
	Node string
	// Victims are the pods to delete there, the most important first.
	Victims []*corev1.Pod
	// Waiting says that an earlier nomination stands, since its victims
	// have not gone yet.
	Waiting bool
	// Message is what to tell, for FitError.Preemption.
	Message string
}

// Preempt looks for pods of lower priority that have to go for the pod to fit
// somewhere: fit is what Schedule said, and nomination what an earlier Preempt
// led to. On each node as many pods as possible are spared, those first whose
// PodDisruptionBudget would be broken, and of these and of the others the more
// important ones. Of the nodes the one is taken where the fewest victims break a
// budget, then whose most important victim is the least, then by the sum of
// priorities, the number of victims, the youngest of the most important victims,
// and the name. The snapshot is changed meanwhile
// and is as before on return.
func Preempt(pod *corev1.Pod, snapshot *Snapshot, fit *FitError, nomination Nomination) Preemption {
	if p := pod.Spec.PreemptionPolicy; p != nil && *p == corev1.PreemptNever {
		return Preemption{Message: toldNever}
	}
	if snapshot.clearing(pod, nomination) && slices.Contains(fit.Open, nomination.Node) {
		return Preemption{Waiting: true, Message: toldWaiting}
	}
	reasons := map[string]int{}
	if closed := fit.Nodes - len(fit.Open); closed > 0 {
		reasons[reasonNotHelpful] = closed
	}
	r, err := requestOf(pod, snapshot)
	if err != nil {
		return Preemption{Message: err.Error()}
	}
	var best *plan
	for _, name := range fit.Open {
		p := r.planFor(snapshot, snapshot.nodes[name], func(w why) { reasons[w.reason]++ })
		if p != nil && (best == nil || p.better(best)) {
			best = p
		}
	}
	if best == nil {
		return Preemption{Message: (&FitError{Nodes: fit.Nodes, Reasons: reasons}).Error()}
	}
	out := Preemption{Node: best.node.name, Message: fmt.Sprintf(
		"found a potential placement for pod on node %s, preempting %d victims", best.node.name, len(best.victims))}
	for _, v := range best.victims {
		out.Victims = append(out.Victims, v.pod)
	}
	return out
}

// clearing says whether pods that were told to leave for this one are still on
// the nominated node.
func (s *Snapshot) clearing(pod *corev1.Pod, n Nomination) bool {
	info := s.nodes[n.Node]
	if n.Node == "" || info == nil {
		return false
	}
	for uid, p := range info.on {
		if priorityOf(p.pod) < priorityOf(pod) && (slices.Contains(n.Victims, uid) || preempted(p.pod)) {
			return true
		}
	}
	return false
}

// preempted says whether the pod is going because a scheduler wanted its place.
func preempted(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// plan is a node and the pods that have to leave it, the most important first.
type plan struct {
	node    *nodeInfo
	victims []*podInfo
	// broken is how many of them break a budget.
	broken int
}

// planFor finds the fewest victims on a node; nil, with the reason told, where
// the pod would not fit even without all of them.
func (r *request) planFor(s *Snapshot, n *nodeInfo, reject func(why)) *plan {
	var lower []*podInfo
	for _, p := range n.on {
		if priorityOf(p.pod) < priorityOf(r.pod) {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		reject(why{reason: reasonNoVictims})
		return nil
	}
	slices.SortFunc(lower, importance)
	for _, p := range lower {
		r.without(p)
	}
	fits := func(told func(why)) bool {
		ok := true
		err := r.filter(n, func(w why) { ok = false; told(w) })
		return ok && err == nil
	}
	if !fits(reject) {
		for _, p := range lower {
			r.with(p)
		}
		return nil
	}
	out := &plan{node: n}
	spare := func(pods []*podInfo) {
		for _, p := range pods {
			r.with(p)
			if !fits(func(why) {}) {
				r.without(p)
				out.victims = append(out.victims, p)
			}
		}
	}
	breaking, rest := s.violating(lower)
	spare(breaking)
	out.broken = len(out.victims)
	spare(rest)
	slices.SortFunc(out.victims, importance)
	for _, p := range out.victims {
		r.with(p)
	}
	if len(out.victims) == 0 {
		// It fits as it is: somebody has left since it was last asked.
		reject(why{reason: reasonNoVictims})
		return nil
	}
	return out
}

// without counts as if the pod were gone, with takes that back.
func (r *request) without(p *podInfo) { r.count(p, -1) }
func (r *request) with(p *podInfo)    { r.count(p, 1) }

func (r *request) count(p *podInfo, sign int) {
	p.node.count(p.demand, int64(sign))
	r.neighbours.count(p, sign)
	r.spread.count(p, sign)
}

func priorityOf(p *corev1.Pod) int32 { return schedulinghelper.PodPriority(p) }

// importance orders the more important first: by priority, then the longer
// running, then by name.
func importance(a, b *podInfo) int {
	return cmp.Or(
		cmp.Compare(priorityOf(b.pod), priorityOf(a.pod)),
		startOf(a.pod).Compare(startOf(b.pod)),
		cmp.Compare(a.pod.Namespace, b.pod.Namespace),
		cmp.Compare(a.pod.Name, b.pod.Name),
		cmp.Compare(a.pod.UID, b.pod.UID),
	)
}

func startOf(p *corev1.Pod) time.Time {
	if p.Status.StartTime != nil {
		return p.Status.StartTime.Time
	}
	return p.CreationTimestamp.Time
}

// better says whether p costs less than q.
func (p *plan) better(q *plan) bool {
	return cmp.Or(
		cmp.Compare(p.broken, q.broken),
		cmp.Compare(priorityOf(p.victims[0].pod), priorityOf(q.victims[0].pod)),
		cmp.Compare(p.sum(), q.sum()),
		cmp.Compare(len(p.victims), len(q.victims)),
		startOf(q.victims[0].pod).Compare(startOf(p.victims[0].pod)),
		cmp.Compare(p.node.name, q.node.name),
	) < 0
}

// sum adds the priorities up, each moved above zero, so that one pod of a
// negative priority is not dearer than two.
func (p *plan) sum() int64 {
	const above = 1 << 31
	var sum int64
	for _, v := range p.victims {
		sum += int64(priorityOf(v.pod)) + above
	}
	return sum
}
