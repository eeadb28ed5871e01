package statefulset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// makeClaims sees to it that the claims of a pod that is to be made are there. A
// pod is not given one that is about to go.
func (c *Controller) makeClaims(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	ordinal := Ordinal(set.Name, pod.Name)
	var errs []error
	for _, wanted := range Claims(set, ordinal) {
		have := c.claimOf(workload.Key(wanted))
		switch {
		case have == nil:
			errs = append(errs, c.makeClaim(ctx, set, pod, wanted, ordinal))
		case have.DeletionTimestamp != nil:
			errs = append(errs, fmt.Errorf("pvc %s is being deleted", wanted.Name)) //nolint:err113 // Kubernetes' words
		case staleFor(have, pod):
			errs = append(errs, fmt.Errorf("pvc %s is about to go with an earlier pod", wanted.Name)) //nolint:err113 // told in an event
		default:
			errs = append(errs, c.own(ctx, have, set, nil, ordinal))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		c.hands.Recorder.Event(set, corev1.EventTypeWarning, "FailedCreate", message("create", set, pod, err))
	}
	return err
}

// staleFor reports whether the claim goes with a pod of this name that was
// before.
func staleFor(c *corev1.PersistentVolumeClaim, pod *corev1.Pod) bool {
	for _, r := range c.OwnerReferences {
		if refers(r, pod, podKind()) {
			return true
		}
	}
	return false
}

func (c *Controller) makeClaim(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod, wanted *corev1.PersistentVolumeClaim, ordinal int) error {
	if owned := Owned(wanted, set, nil, ordinal); owned != nil {
		wanted = owned
	}
	_, err := c.client.CoreV1().PersistentVolumeClaims(set.Namespace).Create(ctx, wanted, metav1.CreateOptions{})
	switch {
	case err == nil:
		c.hands.Recorder.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", wanted.Name, pod.Name, set.Name)
		return nil
	case apierrors.IsAlreadyExists(err):
		return nil // the watch lags behind
	}
	c.hands.Recorder.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %v", wanted.Name, pod.Name, set.Name, err)
	return fmt.Errorf("failed to create PVC %s: %w", wanted.Name, err)
}

// ownClaims gives the claims of the pods that are there the owners of the
// retention policy, before a pod is deleted with which they go.
func (c *Controller) ownClaims(ctx context.Context, set *appsv1.StatefulSet, pods []*corev1.Pod) error {
	for _, pod := range pods {
		ordinal := Ordinal(set.Name, pod.Name)
		for i := range set.Spec.VolumeClaimTemplates {
			have := c.claimOf(set.Namespace + "/" + claimName(set, set.Spec.VolumeClaimTemplates[i].Name, ordinal))
			if have == nil {
				continue
			}
			if conflicting(have, set, pod) {
				c.hands.Recorder.Eventf(set, corev1.EventTypeWarning, "ConflictingController",
					"PersistentVolumeClaim %s has a conflicting OwnerReference that acts as a manging controller, the retention policy is ignored for this claim", have.Name)
			}
			if err := c.own(ctx, have, set, pod, ordinal); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Controller) own(ctx context.Context, have *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) error {
	next := Owned(have, set, pod, ordinal)
	if next == nil {
		return nil
	}
	_, err := c.client.CoreV1().PersistentVolumeClaims(set.Namespace).Update(ctx, next, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("could not update claim %s for delete policy ownerRefs: %w", have.Name, err)
	}
	return nil
}

func (c *Controller) claimOf(key string) *corev1.PersistentVolumeClaim {
	obj, exists, err := c.claims.GetByKey(key)
	if p, ok := obj.(*corev1.PersistentVolumeClaim); err == nil && exists && ok {
		return p
	}
	return nil
}
