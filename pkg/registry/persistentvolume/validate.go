package persistentvolume

import (
	"context"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	carobfields "github.com/carob-project/carob/pkg/fields"
	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
	"github.com/carob-project/carob/pkg/registry/pod"
)

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(v *corev1.PersistentVolume) {
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now())}
		},
		PrepareUpdate: func(v, old *corev1.PersistentVolume) { v.Status = old.Status },
		Validate:      func(_ context.Context, v *corev1.PersistentVolume) field.ErrorList { return Validate(v) },
		ValidateUpdate: func(_ context.Context, v, old *corev1.PersistentVolume) field.ErrorList {
			return append(Validate(v), validateUpdate(&v.Spec, &old.Spec)...)
		},
		Warnings: warnings,
	}
}

func statusRules() rules {
	return rules{
		Reset: []string{"spec"},
		PrepareUpdate: func(v, old *corev1.PersistentVolume) {
			v.Spec = old.Spec
			now, was := &v.Status, &old.Status
			switch {
			case now.Phase == was.Phase && now.LastPhaseTransitionTime == nil:
				now.LastPhaseTransitionTime = was.LastPhaseTransitionTime
			case now.Phase != was.Phase && (now.LastPhaseTransitionTime == nil || now.LastPhaseTransitionTime.Equal(was.LastPhaseTransitionTime)):
				now.LastPhaseTransitionTime = ptr.To(metav1.Now())
			}
		},
	}
}

// Validate checks a volume.
func Validate(v *corev1.PersistentVolume) field.ErrorList {
	s, at := &v.Spec, field.NewPath("spec")
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), ""))
	}
	errs = append(errs, persistentvolumeclaim.ValidateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	errs = append(errs, validateCapacity(s.Capacity, at.Child("capacity"))...)
	errs = append(errs, validateReclaim(s, at.Child("persistentVolumeReclaimPolicy"))...)
	errs = append(errs, validateAffinity(s, at)...)
	errs = append(errs, validateSource(s, at)...)
	errs = append(errs, persistentvolumeclaim.ValidateClassName(s.StorageClassName, at.Child("storageClassName"))...)
	errs = append(errs, persistentvolumeclaim.ValidateVolumeMode(s.VolumeMode, at.Child("volumeMode"))...)
	errs = append(errs, persistentvolumeclaim.RefuseVolumeMode(s.VolumeMode, at.Child("volumeMode"))...)
	errs = append(errs, validateAttributes(s, at)...)
	if _, ok := v.Annotations[corev1.MountOptionAnnotation]; ok {
		errs = append(errs, field.Forbidden(field.NewPath("metadata").Child("annotations", corev1.MountOptionAnnotation),
			"may not specify mount options for this volume type"))
	}
	if len(s.MountOptions) > 0 {
		errs = append(errs, field.Forbidden(at.Child("mountOptions"), carobfields.NotYet+"a directory is not mounted with options; leave it out"))
	}
	return errs
}

func validateCapacity(c corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(c) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if _, ok := c[corev1.ResourceStorage]; !ok || len(c) > 1 {
		errs = append(errs, field.NotSupported(at, c, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		at, q := at.Key(string(name)), c[name]
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at, q.Value(), "must be a valid resource quantity"))
		}
		if q.Sign() <= 0 {
			errs = append(errs, field.Invalid(at, q.String(), "must be greater than zero"))
		}
	}
	return errs
}

func validateReclaim(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	known := []corev1.PersistentVolumeReclaimPolicy{
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain,
	}
	switch s.PersistentVolumeReclaimPolicy {
	case "", corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain:
		return nil
	case corev1.PersistentVolumeReclaimRecycle:
		if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" {
			return field.ErrorList{field.Forbidden(at, "may not be 'recycle' for a hostPath mount of '/'")}
		}
		return field.ErrorList{field.Forbidden(at, carobfields.NotYet+"volumes are not emptied for the next claim; use Retain or Delete")}
	default:
		return field.ErrorList{field.NotSupported(at, s.PersistentVolumeReclaimPolicy, known)}
	}
}

func validateAffinity(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	if s.NodeAffinity == nil {
		return nil
	}
	at = at.Child("nodeAffinity", "required")
	if s.NodeAffinity.Required == nil {
		return field.ErrorList{field.Required(at, "must specify required node constraints")}
	}
	return pod.ValidateNodeSelector(s.NodeAffinity.Required, at)
}

// validateSource wants one source, of the two kinds that a node without drivers
// has.
func validateSource(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := false
	union := reflect.ValueOf(&s.PersistentVolumeSource).Elem()
	for _, name := range sourceOrder() {
		i, _ := union.Type().FieldByName(name)
		if union.FieldByIndex(i.Index).IsNil() {
			continue
		}
		json, _, _ := strings.Cut(i.Tag.Get("json"), ",")
		at := at.Child(json)
		switch {
		case found:
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
		case s.HostPath != nil && name == "HostPath":
			errs = append(errs, pod.ValidateHostPath(s.HostPath, at)...)
		case s.Local != nil && name == "Local":
			errs = append(errs, validateLocal(s, at)...)
		default:
			errs = append(errs, field.Forbidden(at, carobfields.NotYet+"there are no volume drivers; use local or hostPath"))
		}
		found = true
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

// sourceOrder is the order in which sources are looked at: the first one counts.
func sourceOrder() []string {
	first := []string{"HostPath"}
	t := reflect.TypeFor[corev1.PersistentVolumeSource]()
	for i := range t.NumField() {
		if name := t.Field(i).Name; name != "HostPath" {
			first = append(first, name)
		}
	}
	return first
}

func validateLocal(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Local.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	} else {
		errs = append(errs, pod.ValidateNoBacksteps(at.Child("path"), s.Local.Path)...)
	}
	if s.NodeAffinity == nil {
		errs = append(errs, field.Required(field.NewPath("spec", "nodeAffinity"), "Local volume requires node affinity"))
	}
	if s.Local.FSType != nil {
		errs = append(errs, field.Forbidden(at.Child("fsType"), carobfields.NotYet+"block devices are not formatted or mounted; give the path of a directory"))
	}
	return errs
}

func validateAttributes(s *corev1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	if s.VolumeAttributesClassName == nil {
		return nil
	}
	var errs field.ErrorList
	if *s.VolumeAttributesClassName == "" {
		errs = append(errs, field.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed"))
	}
	errs = append(errs, persistentvolumeclaim.ValidateClassName(*s.VolumeAttributesClassName, at.Child("volumeAttributesClassName"))...)
	if s.CSI == nil {
		errs = append(errs, field.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName"))
	}
	return errs
}

// validateUpdate keeps what the volume is; an affinity may be given to one
// without.
func validateUpdate(s, old *corev1.PersistentVolumeSpec) field.ErrorList {
	var errs field.ErrorList
	if !apiequality.Semantic.DeepEqual(s.PersistentVolumeSource, old.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(old.PersistentVolumeSource, s.PersistentVolumeSource))))
	}
	errs = append(errs, apivalidation.ValidateImmutableField(s.VolumeMode, old.VolumeMode, field.NewPath("volumeMode"))...)
	if old.NodeAffinity != nil && !apiequality.Semantic.DeepEqual(s.NodeAffinity, old.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), kind.GoNames{Value: s.NodeAffinity},
			apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA"))
	}
	return errs
}

func warnings(v *corev1.PersistentVolume) []string {
	var out []string
	meta := field.NewPath("metadata", "annotations")
	for _, old := range []struct{ key, msg string }{
		{corev1.BetaStorageClassAnnotation, `deprecated since v1.8; use "storageClassName" attribute instead`},
		{corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		if _, ok := v.Annotations[old.key]; ok {
			out = append(out, fmt.Sprintf("%s: %s", meta.Key(old.key), old.msg))
		}
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		out = append(out, "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	a := v.Spec.NodeAffinity
	if a == nil || a.Required == nil {
		return out
	}
	terms := field.NewPath("spec", "nodeAffinity", "required", "nodeSelectorTerms")
	for i, term := range a.Required.NodeSelectorTerms {
		for j, e := range term.MatchExpressions {
			if now, ok := pod.OldNodeLabel(e.Key); ok {
				out = append(out, fmt.Sprintf("%s: %s is %s", terms.Index(i).Child("matchExpressions").Index(j).Child("key"), e.Key, now))
			}
		}
	}
	return out
}
