package daemonset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

func conditionsOf(set *appsv1.DaemonSet) []rollback.Cond {
	var out []rollback.Cond
	for _, c := range set.Status.Conditions {
		out = append(out, rollback.Cond{Type: string(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	return out
}

func toConditions(all []rollback.Cond) []appsv1.DaemonSetCondition {
	var out []appsv1.DaemonSetCondition
	for _, c := range all {
		out = append(out, appsv1.DaemonSetCondition{
			Type: appsv1.DaemonSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return out
}

// returns says whether the set is to return of itself. One whose pods are
// replaced by hand has no rollout that could fail.
func returns(set *appsv1.DaemonSet) bool {
	return rollback.Wanted(set.Annotations) && set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType
}

// follow judges the rollout, and completes the plan's status with what it finds.
// It is pure.
func follow(set *appsv1.DaemonSet, pods []*corev1.Pod, all []*appsv1.ControllerRevision, latest *appsv1.ControllerRevision, p *Plan, now time.Time) rollback.Return {
	conds := conditionsOf(set)
	if !returns(set) || set.DeletionTimestamp != nil {
		p.Status.Conditions = toConditions(rollback.Without(conds))
		return rollback.Return{}
	}
	old, s := &set.Status, &p.Status
	hashes := revision.ByName(all)
	r := rollback.Follow(rollback.Set{Kind: "DaemonSet", Object: set, Revisions: all, Latest: latest, Conditions: conds}, rollback.Workload{
		Complete: s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled,
		Advanced: s.UpdatedNumberScheduled > old.UpdatedNumberScheduled || s.NumberReady > old.NumberReady || s.NumberAvailable > old.NumberAvailable,
		Pods: func(name string) []*corev1.Pod {
			r := hashes[name]
			return workload.PodsOf(pods, func(p *corev1.Pod) bool { return r != nil && p.Labels[hashLabel] == r.Labels[hashLabel] })
		},
		Now: now,
	})
	p.After = workload.Sooner(p.After, r.After)
	s.Conditions = toConditions(r.Conditions)
	return r
}

// rollBack gives the set the template of an earlier revision.
func (c *Controller) rollBack(ctx context.Context, set *appsv1.DaemonSet, r rollback.Return) error {
	now, ok, err := revision.Restore(ctx, c.client.AppsV1().DaemonSets(set.Namespace), set, r.To, func(now *appsv1.DaemonSet, t corev1.PodTemplateSpec) {
		now.Spec.Template = t
		rollback.Mark(now.Annotations)
	})
	if !ok {
		return err
	}
	c.written.Note(now)
	c.recorder.Event(set, corev1.EventTypeWarning, "DaemonSetRollback", r.Why)
	return nil
}
