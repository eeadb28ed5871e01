// Package localvolume makes, grows and removes the volumes of the class local:
// directories of the node it runs on. The volume's object is made before its
// directory and goes after it, held by a finalizer, so that whatever is killed
// in between, nothing is left that nobody knows of. It must not know pods, nor
// who binds claims.
package localvolume

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
)

// Place is where volumes are made.
type Place struct {
	Node, Hostname, Root string
	// Enforced says whether the file system holds directories to a size.
	Enforced bool
}

// Wanted returns the volume that is to be made for a claim, or nil. It has the
// same name whenever it is asked for, and is the claim's from its beginning.
func Wanted(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, at Place) *corev1.PersistentVolume {
	if c.Annotations[storagevolume.AnnStorageProvisioner] != claim.Provisioner || c.Annotations[storagevolume.AnnSelectedNode] != at.Node ||
		c.Spec.VolumeName != "" || c.DeletionTimestamp != nil || class == nil || class.Provisioner != claim.Provisioner {
		return nil
	}
	name, enforced := claim.VolumeName(c), claim.NotEnforced
	if at.Enforced {
		enforced = claim.Enforced
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Finalizers: []string{claim.Finalizer},
			Annotations: map[string]string{
				storagevolume.AnnDynamicallyProvisioned: claim.Provisioner,
				claim.NodeAnnotation:                    at.Node,
				claim.CapacityAnnotation:                enforced,
			},
		},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: *c.Spec.Resources.Requests.Storage()},
			AccessModes: c.Spec.AccessModes, VolumeMode: c.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			StorageClassName:              class.Name,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: at.Root + "/" + name}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{at.Hostname}}},
			}}}},
		},
	}
}

// Nodeless reports whether a claim asks for a volume here without a pod that
// would say where.
func Nodeless(c *corev1.PersistentVolumeClaim) bool {
	return c.Annotations[storagevolume.AnnStorageProvisioner] == claim.Provisioner && c.Annotations[storagevolume.AnnSelectedNode] == "" &&
		c.Spec.VolumeName == "" && c.DeletionTimestamp == nil
}

// Fate is what is to be done with a volume.
type Fate int

// A volume is kept; or its object is to be deleted; or, when that has begun and
// nobody uses it, its directory is to be removed and the object let go, or the
// object let go alone.
const (
	Keep Fate = iota
	Delete
	Remove
	LetGo
)

// FateOf decides about a volume of this node.
func FateOf(v *corev1.PersistentVolume, node string) Fate {
	if !claim.Made(v) || v.Annotations[claim.NodeAnnotation] != node {
		return Keep
	}
	dies := v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
	switch {
	case v.DeletionTimestamp == nil && v.Status.Phase == corev1.VolumeReleased && dies:
		return Delete
	case v.DeletionTimestamp == nil || v.Status.Phase == corev1.VolumeBound || !slices.Contains(v.Finalizers, claim.Finalizer):
		return Keep
	case dies:
		return Remove
	default:
		return LetGo
	}
}

// Growth is the next of the three writes by which a claim grows: that it has
// begun; the volume, after the file system; and that it is done.
type Growth struct {
	Begin, Done *corev1.PersistentVolumeClaim
	Volume      *corev1.PersistentVolume
}

// Grow decides whether a bound claim grows.
func Grow(c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume, node string, now metav1.Time) Growth {
	if v == nil || !claim.Made(v) || v.Annotations[claim.NodeAnnotation] != node || c.Status.Phase != corev1.ClaimBound ||
		v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != c.UID || c.DeletionTimestamp != nil || v.DeletionTimestamp != nil {
		return Growth{}
	}
	want, has, told := c.Spec.Resources.Requests.Storage(), v.Spec.Capacity.Storage(), c.Status.Capacity.Storage()
	switch {
	case want.Cmp(*has) > 0 && !resizing(c, *want):
		next := c.DeepCopy()
		next.Status.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: *want}
		next.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{
			corev1.ResourceStorage: corev1.PersistentVolumeClaimControllerResizeInProgress,
		}
		next.Status.Conditions = append(without(c.Status.Conditions), corev1.PersistentVolumeClaimCondition{
			Type: corev1.PersistentVolumeClaimResizing, Status: corev1.ConditionTrue, LastTransitionTime: now,
		})
		return Growth{Begin: next}
	case want.Cmp(*has) > 0:
		next := v.DeepCopy()
		next.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: *want}
		return Growth{Volume: next}
	case has.Cmp(*told) > 0 || slices.ContainsFunc(c.Status.Conditions, isResizing):
		next := c.DeepCopy()
		next.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: *has}
		next.Status.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: *has}
		next.Status.AllocatedResourceStatuses = nil
		next.Status.Conditions = without(c.Status.Conditions)
		return Growth{Done: next}
	}
	return Growth{}
}

// resizing reports whether it has been said that the claim grows to a size.
func resizing(c *corev1.PersistentVolumeClaim, to resource.Quantity) bool {
	return slices.ContainsFunc(c.Status.Conditions, isResizing) && c.Status.AllocatedResources.Storage().Cmp(to) == 0
}

func isResizing(c corev1.PersistentVolumeClaimCondition) bool {
	return c.Type == corev1.PersistentVolumeClaimResizing
}

func without(conditions []corev1.PersistentVolumeClaimCondition) []corev1.PersistentVolumeClaimCondition {
	return slices.DeleteFunc(slices.Clone(conditions), isResizing)
}
