package persistentvolume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// ForVolume decides the next step for a volume.
func ForVolume(v *corev1.PersistentVolume, w *World) Step {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return volumePhase(v, corev1.VolumeAvailable, "")
	}
	c := w.Claim(ref.Namespace, ref.Name)
	if c != nil && c.UID != ref.UID {
		// The claim of that name is another one: the volume's is gone.
		c = nil
	}
	switch {
	case c == nil:
		if v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeFailed {
			return volumePhase(v, corev1.VolumeReleased, "")
		}
		return reclaim(v)
	case c.Spec.VolumeName == "":
		if storagevolume.CheckVolumeModeMismatches(&c.Spec, &v.Spec) {
			const message = "due to incompatible volumeMode."
			return Step{}.
				tell(v, corev1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind PersistentVolume to requested PersistentVolumeClaim %q %s", c.Name, message)).
				tell(c, corev1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim %s", v.Name, message))
		}
		return Step{Wake: c}
	case c.Spec.VolumeName == v.Name:
		return volumePhase(v, corev1.VolumeBound, "")
	case metav1.HasAnnotation(v.ObjectMeta, storagevolume.AnnDynamicallyProvisioned) && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		// Made for the claim, which has got another one meanwhile.
		return volumePhase(v, corev1.VolumeReleased, "")
	default:
		return unbind(v)
	}
}

// unbind gives up a volume whose claim is bound to another one. What a user has
// written stays.
func unbind(v *corev1.PersistentVolume) Step {
	next := v.DeepCopy()
	if metav1.HasAnnotation(v.ObjectMeta, storagevolume.AnnBoundByController) {
		next.Spec.ClaimRef = nil
		delete(next.Annotations, storagevolume.AnnBoundByController)
	} else {
		next.Spec.ClaimRef.UID = ""
		next.Spec.ClaimRef.ResourceVersion = ""
	}
	return Step{Volume: next}
}

// reclaim says what becomes of a released volume. One that was made for its
// claim is removed by who made it. Of others only directories below /tmp are
// removed, as in Kubernetes.
func reclaim(v *corev1.PersistentVolume) Step {
	if v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete ||
		metav1.HasAnnotation(v.ObjectMeta, storagevolume.AnnDynamicallyProvisioned) || v.DeletionTimestamp != nil {
		return Step{}
	}
	h := v.Spec.HostPath
	switch {
	case h == nil:
		return failed(v, fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name))
	case !temporary(h.Path):
		return failed(v, "host_path deleter only supports /tmp/.+ but received provided "+h.Path)
	}
	return Step{Delete: v}
}

// failed says that a volume cannot be removed, and why; once.
func failed(v *corev1.PersistentVolume, why string) Step {
	step := volumePhase(v, corev1.VolumeFailed, why)
	if step.Writes() {
		step = step.tell(v, corev1.EventTypeWarning, "VolumeFailedDelete", why)
	}
	return step
}
