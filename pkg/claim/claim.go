// Package claim is what the API server, the controllers, the scheduler and the
// nodes have to agree about: whose claim a volume of a pod is, which class is the
// default, and which volumes carob makes itself. It is pure.
package claim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// Class is the name of the class that carob makes, and Provisioner that of who
// makes its volumes: the node itself, in its own directory.
const (
	Class       = "local"
	Provisioner = "carob.dev/local"
)

// DefaultAnnotation marks the class of claims that name none.
const DefaultAnnotation = "storageclass.kubernetes.io/is-default-class"

// Finalizer keeps a volume of Provisioner until its directory is gone.
const Finalizer = "carob.dev/local-volume"

// Kubernetes' finalizers, which keep a claim that pods use and a volume that is
// bound.
const (
	ClaimProtection  = "kubernetes.io/pvc-protection"
	VolumeProtection = "kubernetes.io/pv-protection"
)

// IsDefault says whether a class is marked as the default.
func IsDefault(c *storagev1.StorageClass) bool {
	return c.Annotations[DefaultAnnotation] == "true" || c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

// DefaultClass returns the class of claims that name none, or nil: of several
// marked as such the newest, then the first by name.
func DefaultClass(all []*storagev1.StorageClass) *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for _, c := range all {
		if !IsDefault(c) {
			continue
		}
		if found == nil || found.CreationTimestamp.Before(&c.CreationTimestamp) ||
			found.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < found.Name {
			found = c
		}
	}
	return found
}

// Of is the name of the claim behind a volume of a pod, or nothing.
func Of(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return ephemeral.VolumeClaimName(p, v)
	}
	return ""
}

// Names are the claims that a pod uses, in the order of its volumes.
func Names(p *corev1.Pod) []string {
	var out []string
	for i := range p.Spec.Volumes {
		if name := Of(p, &p.Spec.Volumes[i]); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// Uses reports whether a pod uses the very claim: one made for another pod's
// volume of the same name is not its.
func Uses(p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	if p.Namespace != c.Namespace {
		return false
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if Of(p, v) == c.Name && (v.Ephemeral == nil || ephemeral.VolumeIsForPod(p, c) == nil) {
			return true
		}
	}
	return false
}

// Made reports whether carob made the volume.
func Made(v *corev1.PersistentVolume) bool {
	return v.Annotations[storagevolume.AnnDynamicallyProvisioned] == Provisioner && v.Spec.Local != nil
}

// VolumeName is that of the volume made for a claim: there is one for each, so a
// second attempt finds the first.
func VolumeName(c *corev1.PersistentVolumeClaim) string { return fmt.Sprintf("pvc-%s", c.UID) }

// The annotations of volumes of Provisioner: the node that has the directory,
// and whether the file system holds it to its capacity.
const (
	NodeAnnotation     = "carob.dev/node"
	CapacityAnnotation = "carob.dev/capacity"
	Enforced           = "enforced"
	NotEnforced        = "not-enforced"
)
