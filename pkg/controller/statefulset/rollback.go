package statefulset

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

func conditionsOf(set *appsv1.StatefulSet) []rollback.Cond {
	var out []rollback.Cond
	for _, c := range set.Status.Conditions {
		out = append(out, rollback.Cond{Type: string(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message})
	}
	return out
}

func toConditions(all []rollback.Cond) []appsv1.StatefulSetCondition {
	var out []appsv1.StatefulSetCondition
	for _, c := range all {
		out = append(out, appsv1.StatefulSetCondition{
			Type: appsv1.StatefulSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return out
}

// returns says whether the set is to return of itself. One whose pods are
// replaced by hand has no rollout that could fail.
func returns(set *appsv1.StatefulSet) bool {
	return rollback.Wanted(set.Annotations) && set.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType
}

// follow judges the rollout, and completes the plan's status with what it finds.
// It is pure.
func follow(set *appsv1.StatefulSet, pods []*corev1.Pod, all []*appsv1.ControllerRevision, latest *appsv1.ControllerRevision, p *Plan, now time.Time) rollback.Return {
	conds := conditionsOf(set)
	if !returns(set) || set.DeletionTimestamp != nil {
		p.Status.Conditions = toConditions(rollback.Without(conds))
		return rollback.Return{}
	}
	old, s, want := &set.Status, &p.Status, ptr.Deref(set.Spec.Replicas, 0)
	partition := int32(0)
	if u := set.Spec.UpdateStrategy.RollingUpdate; u != nil {
		partition = min(ptr.Deref(u.Partition, 0), want)
	}
	w := rollback.Workload{
		Complete: s.UpdatedReplicas >= want-partition && s.Replicas == want && s.AvailableReplicas == want,
		Advanced: s.UpdatedReplicas > old.UpdatedReplicas || s.ReadyReplicas > old.ReadyReplicas || s.AvailableReplicas > old.AvailableReplicas,
		Pods: func(name string) []*corev1.Pod {
			return workload.PodsOf(pods, func(p *corev1.Pod) bool { return revisionOf(p) == name })
		},
		Now: now,
	}
	// A new set's revision is its current one before any pod is there.
	complete := old.CurrentRevision == old.UpdateRevision && old.Replicas > 0 && old.UpdatedReplicas == old.Replicas && old.AvailableReplicas == old.Replicas
	if complete && old.UpdateRevision != latest.Name {
		w.Before = old.UpdateRevision
	}
	r := rollback.Follow(rollback.Set{Kind: "StatefulSet", Object: set, Revisions: all, Latest: latest, Conditions: conds}, w)
	p.After = workload.Sooner(p.After, r.After)
	s.Conditions = toConditions(r.Conditions)
	return r
}

// rollBack gives the set the template of an earlier revision.
func (c *Controller) rollBack(ctx context.Context, set *appsv1.StatefulSet, r rollback.Return) error {
	now, ok, err := revision.Restore(ctx, c.client.AppsV1().StatefulSets(set.Namespace), set, r.To, func(now *appsv1.StatefulSet, t corev1.PodTemplateSpec) {
		now.Spec.Template = t
		rollback.Mark(now.Annotations)
	})
	if !ok {
		return err
	}
	c.written.Note(now)
	c.hands.Recorder.Event(set, corev1.EventTypeWarning, "StatefulSetRollback", r.Why)
	return nil
}
