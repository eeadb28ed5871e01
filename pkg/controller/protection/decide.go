// Package protection keeps claims that pods use, and volumes that claims are
// bound to, from vanishing when they are deleted: by a finalizer that goes when
// the use has ended. It also says in a claim's status whether a pod uses it.
package protection

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// held reports whether one of the pods keeps a deleted claim. One without a node
// does not: it will not get one for a claim that is being deleted. Where all of
// a pod has ended and it is only waited for, its own claim may go first.
func held(c *corev1.PersistentVolumeClaim, pods []*corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
		if p.Spec.NodeName == "" || !claim.Uses(p, c) {
			return false
		}
		over := p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0
		return !over || slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == c.Name
		})
	})
}

// used reports whether a pod that has not ended names the claim.
func used(c *corev1.PersistentVolumeClaim, pods []*corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !ended(p) && claim.Uses(p, c) })
}

func ended(p *corev1.Pod) bool {
	if workload.Terminated(p) {
		return true
	}
	runs := func(s corev1.ContainerStatus) bool { return s.State.Terminated == nil && s.State.Waiting == nil }
	return p.DeletionTimestamp != nil && !slices.ContainsFunc(p.Status.InitContainerStatuses, runs) &&
		!slices.ContainsFunc(p.Status.ContainerStatuses, runs) && !slices.ContainsFunc(p.Status.EphemeralContainerStatuses, runs)
}

// withUse returns the claim with what its status has to say of its use, or nil
// if it says that.
func withUse(c *corev1.PersistentVolumeClaim, pods []*corev1.Pod, now metav1.Time) *corev1.PersistentVolumeClaim {
	if c.DeletionTimestamp != nil || c.Status.Phase != corev1.ClaimBound {
		return nil
	}
	want := corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimUnused, Status: corev1.ConditionTrue, LastTransitionTime: now,
		Reason: "NoPodsUsingPVC", Message: "No pods are currently referencing this PVC",
	}
	if used(c, pods) {
		want.Status, want.Reason, want.Message = corev1.ConditionFalse, "PodUsingPVC", "A pod is currently referencing this PVC"
	}
	i := slices.IndexFunc(c.Status.Conditions, func(have corev1.PersistentVolumeClaimCondition) bool { return have.Type == want.Type })
	if i >= 0 && c.Status.Conditions[i].Status == want.Status {
		return nil
	}
	next := c.DeepCopy()
	if i >= 0 {
		next.Status.Conditions[i] = want
	} else {
		next.Status.Conditions = append(next.Status.Conditions, want)
	}
	return next
}

// finalizers are those that an object should have, given whether it is in use.
func finalizers(o metav1.Object, name string, inUse bool) (list []string, changed bool) {
	has := slices.Contains(o.GetFinalizers(), name)
	switch {
	case o.GetDeletionTimestamp() == nil && !has:
		return append(slices.Clone(o.GetFinalizers()), name), true
	case o.GetDeletionTimestamp() != nil && has && !inUse:
		return slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == name }), true
	}
	return nil, false
}
