package replicaset

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	reasonFailedCreate = "FailedCreate"
	reasonFailedDelete = "FailedDelete"
)

// Diff returns how many pods a ReplicaSet lacks, or which of its active ones
// are too many. related are the pods of its siblings and its own.
func Diff(rs *appsv1.ReplicaSet, active, related []*corev1.Pod, now time.Time) (create int, remove []*corev1.Pod) {
	if rs.DeletionTimestamp != nil {
		return 0, nil
	}
	want := int(ptr.Deref(rs.Spec.Replicas, 0))
	if len(active) > want {
		return 0, workload.Victims(active, related, len(active)-want, now)
	}
	return want - len(active), nil
}

// Status returns the status that the pods give, with the outcome of the last
// writes, and after what time it has to be looked at again; 0 is never.
func Status(rs *appsv1.ReplicaSet, active []*corev1.Pod, terminating int, failure error, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	s := appsv1.ReplicaSetStatus{
		ObservedGeneration:  rs.Generation,
		Replicas:            int32(len(active)),
		TerminatingReplicas: ptr.To(int32(terminating)),
		Conditions:          slices.Clone(rs.Status.Conditions),
	}
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	var again time.Duration
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		if workload.Ready(p) {
			s.ReadyReplicas++
		}
		ok, wait := workload.Available(p, rs.Spec.MinReadySeconds, now)
		if ok {
			s.AvailableReplicas++
		}
		again = workload.Sooner(again, wait)
	}
	failed := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	switch {
	case failure == nil:
		s.Conditions = slices.DeleteFunc(s.Conditions, failed)
	case !slices.ContainsFunc(s.Conditions, failed):
		reason := reasonFailedCreate
		if len(active) > int(ptr.Deref(rs.Spec.Replicas, 0)) {
			reason = reasonFailedDelete
		}
		s.Conditions = append(s.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failure.Error(),
		})
	}
	if len(s.Conditions) == 0 {
		s.Conditions = nil
	}
	return s, again
}
