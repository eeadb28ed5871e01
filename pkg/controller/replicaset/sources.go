package replicaset

import (
	"context"
	"errors"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/workload"
)

type replicaSets struct {
	client kubernetes.Interface
	inf    cache.SharedIndexInformer
}

func (*replicaSets) kind() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
}

func (s *replicaSets) informer() cache.SharedIndexInformer { return s.inf }

func (*replicaSets) convert(obj any) (*appsv1.ReplicaSet, workload.Owner, bool) {
	rs, ok := obj.(*appsv1.ReplicaSet)
	return rs, rs, ok
}

func (*replicaSets) countsTerminating() bool { return true }

func (s *replicaSets) fresh(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return s.client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (s *replicaSets) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) (metav1.Object, error) {
	out := rs.DeepCopy()
	out.Status = status
	return s.client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, out, metav1.UpdateOptions{})
}

// NewForReplicationControllers makes the Controller of ReplicationControllers,
// which are ReplicaSets of an older form.
func NewForReplicationControllers(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("replicationcontroller: no client, no informers or no recorder")
	}
	return start(o, &replicationControllers{client: o.Client, inf: o.Informers.Core().V1().ReplicationControllers().Informer()})
}

type replicationControllers struct {
	client kubernetes.Interface
	inf    cache.SharedIndexInformer
}

func (*replicationControllers) kind() schema.GroupVersionKind {
	return corev1.SchemeGroupVersion.WithKind("ReplicationController")
}

func (s *replicationControllers) informer() cache.SharedIndexInformer { return s.inf }

func (*replicationControllers) convert(obj any) (*appsv1.ReplicaSet, workload.Owner, bool) {
	rc, ok := obj.(*corev1.ReplicationController)
	if !ok {
		return nil, nil, false
	}
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec: appsv1.ReplicaSetSpec{
			Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds,
			Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector},
		},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs, rc, true
}

func (*replicationControllers) countsTerminating() bool { return false }

func (s *replicationControllers) fresh(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return s.client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (s *replicationControllers) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) (metav1.Object, error) {
	obj, exists, err := s.inf.GetIndexer().GetByKey(workload.Key(rs))
	if err != nil {
		return nil, err
	}
	rc, ok := obj.(*corev1.ReplicationController)
	if !exists || !ok {
		return nil, apierrors.NewNotFound(corev1.Resource("replicationcontrollers"), rs.Name)
	}
	rc = rc.DeepCopy()
	rc.ResourceVersion = rs.ResourceVersion
	rc.Status = corev1.ReplicationControllerStatus{
		Replicas: status.Replicas, FullyLabeledReplicas: status.FullyLabeledReplicas, ReadyReplicas: status.ReadyReplicas,
		AvailableReplicas: status.AvailableReplicas, ObservedGeneration: status.ObservedGeneration,
	}
	for _, c := range status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status,
			LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return s.client.CoreV1().ReplicationControllers(rs.Namespace).UpdateStatus(ctx, rc, metav1.UpdateOptions{})
}
