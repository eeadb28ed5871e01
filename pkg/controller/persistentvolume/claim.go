// Package persistentvolume binds claims to volumes and says what becomes of
// volumes whose claims are gone. The decisions are pure: of the claims and
// volumes as they are, the one next write. It must not know how a volume is made
// or removed; whoever does that shares its state through the API.
package persistentvolume

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// World is what a decision looks at. Nothing in it is changed.
type World struct {
	Volumes []*corev1.PersistentVolume
	Claim   func(namespace, name string) *corev1.PersistentVolumeClaim
	Class   func(name string) *storagev1.StorageClass
	// Default is the class of claims without one, or nil.
	Default *storagev1.StorageClass
	// Unscheduled names the pods without a node that use the claim.
	Unscheduled func(*corev1.PersistentVolumeClaim) []string
}

// Step is the next write, of one of the objects, and what is to be told then. An
// empty step means that all is as it should be.
type Step struct {
	Claim, ClaimStatus   *corev1.PersistentVolumeClaim
	Volume, VolumeStatus *corev1.PersistentVolume
	// Delete is a volume whose directory is to be removed, and then itself.
	Delete *corev1.PersistentVolume
	Events []Event
	// Wake is a claim that has to be looked at now.
	Wake *corev1.PersistentVolumeClaim
}

// Event is told about an object.
type Event struct {
	About                 runtime.Object
	Type, Reason, Message string
}

// Writes reports whether the step writes something, after which the next one
// can be decided.
func (s *Step) Writes() bool {
	return s.Claim != nil || s.ClaimStatus != nil || s.Volume != nil || s.VolumeStatus != nil
}

func (s Step) tell(about runtime.Object, kind, reason, message string) Step {
	s.Events = append(s.Events, Event{about, kind, reason, message})
	return s
}

func (w *World) volume(name string) *corev1.PersistentVolume {
	for _, v := range w.Volumes {
		if v.Name == name {
			return v
		}
	}
	return nil
}

// ForClaim decides the next step for a claim.
func ForClaim(c *corev1.PersistentVolumeClaim, w *World) Step {
	switch {
	case metav1.HasAnnotation(c.ObjectMeta, storagevolume.AnnBindCompleted):
		return forBound(c, w)
	case c.DeletionTimestamp != nil:
		return Step{}
	case c.Spec.VolumeName != "":
		return forNamed(c, w)
	default:
		return forUnbound(c, w)
	}
}

// forBound keeps a bound claim bound, or says that its volume is lost.
func forBound(c *corev1.PersistentVolumeClaim, w *World) Step {
	if c.Spec.VolumeName == "" {
		return claimPhase(c, corev1.ClaimLost, nil, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	v := w.volume(c.Spec.VolumeName)
	switch {
	case v == nil:
		return claimPhase(c, corev1.ClaimLost, nil, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == c.UID:
		return bind(v, c)
	case v.Spec.ClaimRef.UID == "" && storagevolume.IsVolumeBoundToClaim(v, c):
		return bind(v, c)
	default:
		return claimPhase(c, corev1.ClaimLost, nil, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
	}
}

// forNamed serves a claim that names its volume.
func forNamed(c *corev1.PersistentVolumeClaim, w *World) Step {
	v := w.volume(c.Spec.VolumeName)
	pending := claimPhase(c, corev1.ClaimPending, nil, "", "")
	switch {
	case v == nil:
		return pending
	case v.Spec.ClaimRef == nil:
		if why := misfit(v, c); why != "" {
			return pending.tell(c, corev1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", v.Name, why))
		}
		return bind(v, c)
	case storagevolume.IsVolumeBoundToClaim(v, c):
		return bind(v, c)
	default:
		return pending.tell(c, corev1.EventTypeWarning, "FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", v.Name))
	}
}

// forUnbound finds a volume for a claim, or says what the claim waits for.
func forUnbound(c *corev1.PersistentVolumeClaim, w *World) Step {
	class := storagevolume.GetPersistentVolumeClaimClass(c)
	known := w.Class(class)
	late := class != "" && known != nil && ptr.Deref(known.VolumeBindingMode, "") == storagev1.VolumeBindingWaitForFirstConsumer
	if v := match(c, w.Volumes, late); v != nil {
		return bind(v, c)
	}
	if !storagevolume.PersistentVolumeClaimHasClass(c) && w.Default != nil {
		next := c.DeepCopy()
		next.Spec.StorageClassName = ptr.To(w.Default.Name)
		return Step{Claim: next}
	}
	pending := claimPhase(c, corev1.ClaimPending, nil, "", "")
	switch {
	case late && !metav1.HasAnnotation(c.ObjectMeta, storagevolume.AnnSelectedNode):
		reason, message := "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
		if pods := w.Unscheduled(c); len(pods) > 0 {
			one := "pod"
			if len(pods) > 1 {
				one = "pods"
			}
			reason, message = "WaitForPodScheduled", fmt.Sprintf("waiting for %s %s to be scheduled", one, strings.Join(pods, ","))
		}
		return pending.tell(c, corev1.EventTypeNormal, reason, message)
	case class != "":
		return provision(c, class, known, pending)
	default:
		return pending.tell(c, corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	}
}

// provision asks the provisioner of the class for a volume, by the annotation
// that they look for.
func provision(c *corev1.PersistentVolumeClaim, name string, class *storagev1.StorageClass, pending Step) Step {
	if class == nil {
		return pending.tell(c, corev1.EventTypeWarning, "ProvisioningFailed", fmt.Sprintf("storageclass.storage.k8s.io %q not found", name))
	}
	if strings.HasPrefix(class.Provisioner, "kubernetes.io/") {
		return pending.tell(c, corev1.EventTypeWarning, "ProvisioningFailed", "no volume plugin matched name: "+class.Provisioner)
	}
	if c.Annotations[storagevolume.AnnStorageProvisioner] != class.Provisioner || c.Annotations[storagevolume.AnnBetaStorageProvisioner] != class.Provisioner {
		next := c.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, storagevolume.AnnBetaStorageProvisioner, class.Provisioner)
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, storagevolume.AnnStorageProvisioner, class.Provisioner)
		return Step{Claim: next}
	}
	return pending.tell(c, corev1.EventTypeNormal, "ExternalProvisioning", fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
		"or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", class.Provisioner))
}

// match finds the volume that is the claim's already, else the smallest that
// fits; volumes with the fewest access modes come first. A claim that waits for
// a pod gets none but its own.
func match(c *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, late bool) *corev1.PersistentVolume {
	byModes := map[int][]*corev1.PersistentVolume{}
	for _, v := range volumes {
		if storagevolume.CheckAccessModes(c, v) {
			n := len(v.Spec.AccessModes)
			byModes[n] = append(byModes[n], v)
		}
	}
	var counts []int
	for n, some := range byModes {
		counts = append(counts, n)
		slices.SortFunc(some, func(a, b *corev1.PersistentVolume) int { return strings.Compare(a.Name, b.Name) })
		for _, v := range some {
			if storagevolume.IsVolumeBoundToClaim(v, c) && v.Spec.ClaimRef.UID == c.UID && v.DeletionTimestamp == nil {
				return v
			}
		}
	}
	slices.Sort(counts)
	for _, n := range counts {
		v, err := storagevolume.FindMatchingVolume(c, byModes[n], nil, nil, late, false)
		if err == nil && v != nil {
			return v
		}
	}
	return nil
}

// misfit says why a volume that a claim names cannot be its.
func misfit(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) string {
	switch {
	case v.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", v.Name)
	case v.Spec.Capacity.Storage().Cmp(*c.Spec.Resources.Requests.Storage()) < 0:
		return "requested PV is too small"
	case storagevolume.GetPersistentVolumeClass(v) != storagevolume.GetPersistentVolumeClaimClass(c):
		return "storageClassName does not match"
	case storagevolume.CheckVolumeModeMismatches(&c.Spec, &v.Spec):
		return "incompatible volumeMode"
	case !storagevolume.CheckAccessModes(c, v):
		return "incompatible accessMode"
	}
	return ""
}
