package daemonset

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// Return is what follows from how a rollout goes, where the set is to return of
// itself when it fails.
type Return struct {
	// Annotations are those that the set should have; nil: as it has.
	Annotations map[string]string
	// To, if not nil, is the revision to return to, and Why says what happened.
	To  *appsv1.ControllerRevision
	Why string
}

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
func follow(set *appsv1.DaemonSet, pods []*corev1.Pod, all []*appsv1.ControllerRevision, latest *appsv1.ControllerRevision, p *Plan, now time.Time) Return {
	conds := conditionsOf(set)
	if !returns(set) || set.DeletionTimestamp != nil {
		p.Status.Conditions = toConditions(rollback.Without(conds))
		return Return{}
	}
	old, s := &set.Status, &p.Status
	byName := revision.ByName(all)
	w := rollback.Workload{
		Annotations: set.Annotations, Current: latest.Name, Was: rollback.Was(conds), Now: now,
		Complete: s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled,
		Advanced: s.UpdatedNumberScheduled > old.UpdatedNumberScheduled || s.NumberReady > old.NumberReady || s.NumberAvailable > old.NumberAvailable,
		Exists:   func(name string) bool { return byName[name] != nil },
		Pods: func(name string) []*corev1.Pod {
			r := byName[name]
			return workload.PodsOf(pods, func(p *corev1.Pod) bool { return r != nil && p.Labels[hashLabel] == r.Labels[hashLabel] })
		},
	}
	for name := range byName {
		w.All = append(w.All, name)
	}
	slices.Sort(w.All)
	o := rollback.Judge(w)
	p.After = workload.Sooner(p.After, o.After)
	r := Return{Annotations: o.Record(set.Annotations, latest.Name), To: byName[o.To]}
	if r.To != nil {
		r.Why = fmt.Sprintf("DaemonSet %q returned from revision %d to revision %d: %s", set.Name, latest.Revision, r.To.Revision, o.Message)
	}
	s.Conditions = toConditions(o.Conditions(conds, latest.Name, r.Why, now))
	return r
}

// rollBack gives the set the template of an earlier revision.
func (c *Controller) rollBack(ctx context.Context, set *appsv1.DaemonSet, r Return) error {
	if r.To == nil {
		return nil
	}
	template, err := revision.Template(r.To)
	if err != nil {
		return err
	}
	now, err := c.client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if now.UID != set.UID || now.Generation != set.Generation {
		return nil // the user was faster
	}
	now.Spec.Template = template
	rollback.Mark(now.Annotations)
	if now, err = c.client.AppsV1().DaemonSets(set.Namespace).Update(ctx, now, metav1.UpdateOptions{}); err != nil {
		return err
	}
	c.written.Note(now)
	c.recorder.Event(set, corev1.EventTypeWarning, "DaemonSetRollback", r.Why)
	return nil
}
