package deployment

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// hashOf names the revision of a set.
func hashOf(rs *appsv1.ReplicaSet) string { return rs.Labels[hashLabel] }

// currentHash names the revision of the deployment's template.
func (p *planner) currentHash() string {
	if p.current != nil {
		return hashOf(p.current)
	}
	return workload.Hash(&p.d.Spec.Template, p.d.Status.CollisionCount)
}

// before is the set that was the current one until the template changed, if its
// rollout was complete.
func (p *planner) before() *appsv1.ReplicaSet {
	was := find(p.d.Status.Conditions, appsv1.DeploymentProgressing)
	written := p.d.Annotations[annotationRevision]
	if was == nil || was.Reason != reasonNewAvailable || written == "" {
		return nil
	}
	for _, rs := range p.old {
		if rs.Annotations[annotationRevision] == written {
			return rs
		}
	}
	return nil
}

// podsOf are those of a set, where there is one and its pods are known.
func (p *planner) podsOf(rs *appsv1.ReplicaSet) []*corev1.Pod {
	if rs == nil || p.Pods == nil {
		return nil
	}
	return p.Pods(rs)
}

// rollback decides whether the deployment returns of itself, and records which
// revision is the last complete one.
func (p *planner) rollback() {
	if !rollback.Wanted(p.d.Annotations) {
		return
	}
	s, now := &p.plan.Status, find(p.plan.Status.Conditions, appsv1.DeploymentProgressing)
	in := rollback.Input{
		Current: p.currentHash(), Recorded: p.d.Annotations[rollback.AnnotationComplete], Crash: rollback.CrashLoops(p.podsOf(p.current)), Now: p.Now,
		Exists:   func(hash string) bool { return p.byHash(hash) != nil },
		TimedOut: now != nil && now.Reason == reasonTimedOut,
		Complete: p.current != nil && complete(p.d, s) && (now == nil || now.Reason == reasonNewAvailable),
	}
	switch {
	case now != nil:
		in.Since = now.LastUpdateTime.Time
	case p.current != nil:
		in.Since = p.current.CreationTimestamp.Time
	}
	if before := p.before(); before != nil {
		in.Before, in.BeforeEnded = hashOf(before), rollback.Ended(p.podsOf(before))
	}
	var serving *appsv1.ReplicaSet
	for _, rs := range p.old {
		if available(rs) > 0 && (serving == nil || revision(rs.Annotations) > revision(serving.Annotations)) {
			serving, in.Serving = rs, hashOf(rs)
		}
	}
	d := rollback.Decide(in)
	p.plan.After = workload.Sooner(p.plan.After, d.After)
	p.plan.Complete = d.Complete
	if d.To == "" {
		if d.Complete != in.Current {
			p.drop(rollback.Condition)
		}
		return
	}
	p.plan.Rollback = p.byHash(d.To)
	p.plan.Why = fmt.Sprintf("returned from revision %s to revision %d: %s", p.plan.Revision, revision(p.plan.Rollback.Annotations), d.Message)
	p.drop(rollback.Condition)
	p.set(rollback.Condition, corev1.ConditionTrue, d.Reason, "Deployment "+strconv.Quote(p.d.Name)+" "+p.plan.Why)
}

func (p *planner) byHash(hash string) *appsv1.ReplicaSet {
	for _, rs := range p.old {
		if hashOf(rs) == hash && rs.DeletionTimestamp == nil {
			return rs
		}
	}
	return nil
}
