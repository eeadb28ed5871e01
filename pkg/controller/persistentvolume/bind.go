package persistentvolume

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// bind is the next of the four writes of a binding. The first one, of the
// volume, is the one that counts: from then on the volume is nobody else's, and
// whoever finds the two later goes on where it was left.
func bind(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) Step {
	next, changed, err := storagevolume.GetBindVolumeToClaim(v, c)
	if err != nil {
		return Step{}
	}
	if changed {
		return Step{Volume: next}
	}
	if v.Status.Phase != corev1.VolumeBound {
		return volumePhase(v, corev1.VolumeBound, "")
	}
	if claim := bound(c, v); claim != nil {
		return Step{Claim: claim}
	}
	return claimPhase(c, corev1.ClaimBound, v, "", "")
}

// bound returns the claim as it is when it is the volume's, nil if it is that.
func bound(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	next := c.DeepCopy()
	if c.Spec.VolumeName != v.Name {
		next.Spec.VolumeName = v.Name
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, storagevolume.AnnBoundByController, "yes")
	}
	if !metav1.HasAnnotation(c.ObjectMeta, storagevolume.AnnBindCompleted) {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, storagevolume.AnnBindCompleted, "yes")
	}
	if apiequality.Semantic.DeepEqual(next, c) {
		return nil
	}
	return next
}

// claimPhase writes the phase of a claim, and what it has of its volume. Its
// capacity is that of the volume when it becomes bound; later it grows when the
// file system has.
func claimPhase(c *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, v *corev1.PersistentVolume, reason, message string) Step {
	next := c.DeepCopy()
	s := &next.Status
	if v == nil {
		s.AccessModes, s.Capacity = nil, nil
	} else {
		s.AccessModes = v.Spec.AccessModes
		if s.Phase != phase || s.Capacity == nil {
			s.Capacity = corev1.ResourceList{corev1.ResourceStorage: v.Spec.Capacity[corev1.ResourceStorage]}
		}
	}
	s.Phase = phase
	if apiequality.Semantic.DeepEqual(next.Status, c.Status) {
		return Step{}
	}
	step := Step{ClaimStatus: next}
	if reason != "" && c.Status.Phase != phase {
		step = step.tell(c, corev1.EventTypeWarning, reason, message)
	}
	return step
}

func volumePhase(v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) Step {
	if v.Status.Phase == phase {
		return Step{}
	}
	next := v.DeepCopy()
	next.Status.Phase, next.Status.Message, next.Status.Reason = phase, message, ""
	return Step{VolumeStatus: next}
}
