package deployment

import (
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of conditions, and of events.
const (
	reasonNewAvailable = "NewReplicaSetAvailable"
	reasonUpdated      = "ReplicaSetUpdated"
	reasonCreated      = "NewReplicaSetCreated"
	reasonFound        = "FoundNewReplicaSet"
	reasonCreateError  = "ReplicaSetCreateError"
	reasonTimedOut     = "ProgressDeadlineExceeded"
	reasonPaused       = "DeploymentPaused"
	reasonResumed      = "DeploymentResumed"
)

func hasDeadline(d *appsv1.Deployment) bool {
	return ptr.Deref(d.Spec.ProgressDeadlineSeconds, math.MaxInt32) != math.MaxInt32
}

func find(all []appsv1.DeploymentCondition, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range all {
		if all[i].Type == t {
			return &all[i]
		}
	}
	return nil
}

// set puts a condition into the status. One of the same status and reason
// stays as it is, message and times included.
func (p *planner) set(t appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(p.Now)
	c := appsv1.DeploymentCondition{
		Type: t, Status: status, LastUpdateTime: now, LastTransitionTime: now, Reason: reason, Message: message,
	}
	if old := find(p.plan.Status.Conditions, t); old != nil {
		if old.Status == status && old.Reason == reason {
			return
		}
		if old.Status == status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	p.drop(t)
	p.plan.Status.Conditions = append(p.plan.Status.Conditions, c)
}

func (p *planner) drop(t appsv1.DeploymentConditionType) {
	p.plan.Status.Conditions = slices.DeleteFunc(p.plan.Status.Conditions,
		func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

// status fills in the plan's status; rollout says that progress is watched.
func (p *planner) status(rollout bool) {
	all := p.all()
	avail := sum(all, available)
	s := &p.plan.Status
	*s = appsv1.DeploymentStatus{
		ObservedGeneration:  p.d.Generation,
		Replicas:            sum(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }),
		ReadyReplicas:       sum(all, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.ReadyReplicas }),
		AvailableReplicas:   avail,
		UnavailableReplicas: max(0, sum(all, replicas)-avail),
		TerminatingReplicas: terminating(all),
		CollisionCount:      p.d.Status.CollisionCount,
		Conditions:          slices.Clone(p.d.Status.Conditions),
	}
	if p.current != nil {
		s.UpdatedReplicas = p.current.Status.Replicas
	}
	p.pausedConditions()
	p.startConditions(rollout)
	if avail >= minAvailable(p.d) {
		p.set(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		p.set(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
	if rollout {
		p.progress()
		p.rollback()
		p.failures()
	}
}

func terminating(all []*appsv1.ReplicaSet) *int32 {
	var n int32
	for _, rs := range all {
		if rs.Status.TerminatingReplicas == nil && rs.Status.ObservedGeneration != 0 {
			return nil
		}
		n += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	return &n
}

// pausedConditions keep a pause from counting as a lack of progress.
func (p *planner) pausedConditions() {
	c := find(p.plan.Status.Conditions, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) || p.d.DeletionTimestamp != nil || c != nil && c.Reason == reasonTimedOut {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case p.d.Spec.Paused && !paused:
		p.set(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused")
	case !p.d.Spec.Paused && paused:
		p.set(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed")
	}
}

// startConditions say where the current set comes from.
func (p *planner) startConditions(rollout bool) {
	if !hasDeadline(p.d) || p.current == nil {
		return
	}
	switch {
	case p.created && rollout:
		p.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCreated, fmt.Sprintf("Created new replica set %q", p.current.Name))
	case find(p.plan.Status.Conditions, appsv1.DeploymentProgressing) == nil:
		p.set(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", p.current.Name))
	}
}

func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	want := wanted(d)
	return s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want && s.ObservedGeneration >= d.Generation
}

func progressing(old, s *appsv1.DeploymentStatus) bool {
	return s.UpdatedReplicas > old.UpdatedReplicas || s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas ||
		s.ReadyReplicas > old.ReadyReplicas || s.AvailableReplicas > old.AvailableReplicas
}

// progress judges the rollout.
func (p *planner) progress() {
	s, t := &p.plan.Status, appsv1.DeploymentProgressing
	if !hasDeadline(p.d) {
		p.drop(t)
		return
	}
	now := find(s.Conditions, t)
	if s.Replicas == s.UpdatedReplicas && now != nil && now.Reason == reasonNewAvailable {
		return
	}
	what := fmt.Sprintf("Deployment %q", p.d.Name)
	if p.current != nil {
		what = fmt.Sprintf("ReplicaSet %q", p.current.Name)
	}
	deadline := time.Duration(*p.d.Spec.ProgressDeadlineSeconds) * time.Second
	switch {
	case complete(p.d, s):
		p.set(t, corev1.ConditionTrue, reasonNewAvailable, what+" has successfully progressed.")
	case progressing(&p.d.Status, s):
		since := metav1.NewTime(p.Now)
		if now != nil && now.Status == corev1.ConditionTrue {
			since = now.LastTransitionTime
		}
		p.drop(t) // its time of update is when progress was last seen
		p.set(t, corev1.ConditionTrue, reasonUpdated, what+" is progressing.")
		find(s.Conditions, t).LastTransitionTime = since
	case now == nil || now.Reason == reasonNewAvailable:
		return
	case now.Reason == reasonTimedOut:
		return
	case now.LastUpdateTime.Add(deadline).Before(p.Now):
		p.set(t, corev1.ConditionFalse, reasonTimedOut, what+" has timed out progressing.")
		return
	}
	if now = find(s.Conditions, t); now != nil && now.Reason != reasonNewAvailable {
		// The API keeps whole seconds.
		p.plan.After = max(now.LastUpdateTime.Add(deadline).Sub(p.Now), 0) + time.Second
	}
}

// failures copies what hinders a set from making pods, the current one first.
func (p *planner) failures() {
	sets := slices.Clone(p.old)
	if p.current != nil {
		sets = slices.Insert(sets, 0, p.current)
	}
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type != appsv1.ReplicaSetReplicaFailure {
				continue
			}
			if old := find(p.plan.Status.Conditions, appsv1.DeploymentReplicaFailure); old == nil || old.Status != c.Status || old.Reason != c.Reason {
				p.set(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				now := find(p.plan.Status.Conditions, appsv1.DeploymentReplicaFailure)
				now.LastUpdateTime, now.LastTransitionTime = c.LastTransitionTime, c.LastTransitionTime
			}
			return
		}
	}
	p.drop(appsv1.DeploymentReplicaFailure)
}
