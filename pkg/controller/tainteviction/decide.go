// Package tainteviction deletes the pods of a node that has a NoExecute taint
// which they do not tolerate, or have tolerated for as long as they wanted to.
//
// Decide is pure. The package must not know who taints nodes and why, nor what
// comes to take a pod's place.
package tainteviction

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// mostSeconds is the longest time that a time.Duration can hold.
const mostSeconds = math.MaxInt64 / int64(time.Second)

// Decision says whether a pod has to leave its node. The zero value: never.
type Decision struct {
	Evict bool
	// In is how much time is left until then; 0: none.
	In time.Duration
}

// Decide is pure. taints are the NoExecute taints of the pod's node. seen tells
// since when one is known that does not say itself when it was added.
func Decide(p *corev1.Pod, taints []corev1.Taint, seen func(corev1.Taint) time.Time, now time.Time) Decision {
	if p.Spec.NodeName == "" || !workload.Active(p) {
		return Decision{}
	}
	var d Decision
	for _, t := range taints {
		tolerated := tolerating(p.Spec.Tolerations, &t)
		if tolerated == nil {
			return Decision{Evict: true}
		}
		if tolerated.TolerationSeconds == nil {
			continue
		}
		seconds := min(*tolerated.TolerationSeconds, mostSeconds)
		if seconds <= 0 {
			return Decision{Evict: true}
		}
		left := effective(p, t, seen).Add(time.Duration(seconds) * time.Second).Sub(now)
		if !d.Evict || left < d.In {
			d = Decision{Evict: true, In: left}
		}
	}
	d.In = max(d.In, 0)
	return d
}

// tolerating is the first toleration that matches the taint, as in Kubernetes;
// nil: there is none.
func tolerating(all []corev1.Toleration, t *corev1.Taint) *corev1.Toleration {
	for i := range all {
		if all[i].ToleratesTaint(klog.Background(), t, true) {
			return &all[i]
		}
	}
	return nil
}

// effective is when the pod began to tolerate the taint. Where the objects say
// it, they count, so that the wait goes on where it was after a restart.
func effective(p *corev1.Pod, t corev1.Taint, seen func(corev1.Taint) time.Time) time.Time {
	since := arrival(p)
	added := seen(t)
	if t.TimeAdded != nil {
		added = t.TimeAdded.Time
	}
	if added.After(since) {
		return added
	}
	return since
}

// arrival is when the pod came to its node. One that waited for a node for long
// and was not started yet has not tolerated anything meanwhile.
func arrival(p *corev1.Pod) time.Time {
	if p.Status.StartTime != nil {
		return p.Status.StartTime.Time
	}
	c := workload.Condition(p, corev1.PodScheduled)
	if c != nil && c.Status == corev1.ConditionTrue && c.LastTransitionTime.After(p.CreationTimestamp.Time) {
		return c.LastTransitionTime.Time
	}
	return p.CreationTimestamp.Time
}

// expelling are those taints of a node that end pods.
func expelling(n *corev1.Node) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectNoExecute {
			out = append(out, t)
		}
	}
	return out
}

// disruption is the condition that says why the pod goes. changed is false if
// the pod has it already.
func disruption(p *corev1.Pod, now time.Time) (c corev1.PodCondition, changed bool) {
	c = corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: p.Generation,
		Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
	}
	c.LastTransitionTime.Time = now
	was := workload.Condition(p, corev1.DisruptionTarget)
	if was == nil {
		return c, true
	}
	if was.Status == c.Status {
		c.LastTransitionTime = was.LastTransitionTime
	}
	return c, was.Status != c.Status || was.Reason != c.Reason || was.Message != c.Message || was.ObservedGeneration != c.ObservedGeneration
}
