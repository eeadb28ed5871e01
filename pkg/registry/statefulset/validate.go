package statefulset

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(o *appsv1.StatefulSet) {
			o.Status, o.Generation = appsv1.StatefulSetStatus{}, 1
			workload.PrepareTemplate(&o.Spec.Template.Spec)
		},
		PrepareUpdate: func(o, old *appsv1.StatefulSet) {
			o.Status = old.Status
			workload.PrepareTemplate(&o.Spec.Template.Spec)
			if workload.Changed(o.Spec, old.Spec) {
				o.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, o *appsv1.StatefulSet) field.ErrorList {
			return append(Validate(o), workload.ValidateRollback(o.Annotations, nil)...)
		},
		ValidateUpdate: func(_ context.Context, o, old *appsv1.StatefulSet) field.ErrorList {
			errs := workload.ValidateRollback(o.Annotations, old.Annotations)
			if !workload.Changed(o.Spec, old.Spec) {
				return errs
			}
			errs = append(errs, Validate(o)...)
			return append(errs, validateUpdate(&o.Spec, &old.Spec)...)
		},
		Warnings: func(o *appsv1.StatefulSet) []string {
			out := pod.TemplateWarnings(&o.Spec.Template, field.NewPath("spec", "template"))
			if n := o.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
				out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
			}
			return out
		},
	}
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(o, old *appsv1.StatefulSet) { o.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, o, old *appsv1.StatefulSet) field.ErrorList {
			return validateStatus(&o.Status, &old.Status)
		},
	}
}

func validateStatus(s, old *appsv1.StatefulSetStatus) field.ErrorList {
	at := field.NewPath("status")
	counts := []workload.Counts{
		{Field: "readyReplicas", N: s.ReadyReplicas}, {Field: "currentReplicas", N: s.CurrentReplicas},
		{Field: "updatedReplicas", N: s.UpdatedReplicas}, {Field: "availableReplicas", N: s.AvailableReplicas},
	}
	errs := workload.ValidateNumbers(s.Replicas, counts, at)
	errs = append(errs, workload.NonNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, workload.NonNegative(int64(ptr.Deref(s.CollisionCount, 0)), at.Child("collisionCount"))...)
	errs = append(errs, workload.ValidateWithin(s.Replicas, counts, at)...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(at.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	if n := ptr.Deref(s.CollisionCount, 0); old.CollisionCount != nil && n < *old.CollisionCount {
		errs = append(errs, field.Invalid(at.Child("collisionCount"), n, "cannot be decremented"))
	}
	return errs
}

func validateUpdate(s, old *appsv1.StatefulSetSpec) field.ErrorList {
	at := field.NewPath("spec")
	errs := workload.Immutable(s.Selector, old.Selector, at.Child("selector"))
	errs = append(errs, workload.Immutable(s.VolumeClaimTemplates, old.VolumeClaimTemplates, at.Child("volumeClaimTemplates"))...)
	errs = append(errs, workload.Immutable(s.ServiceName, old.ServiceName, at.Child("serviceName"))...)
	return append(errs, workload.Immutable(s.PodManagementPolicy, old.PodManagementPolicy, at.Child("podManagementPolicy"))...)
}

// Validate checks the spec.
func Validate(o *appsv1.StatefulSet) field.ErrorList {
	s, at := &o.Spec, field.NewPath("spec")
	var errs field.ErrorList
	switch s.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(at.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(at.Child("podManagementPolicy"), s.PodManagementPolicy,
			fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, validateStrategy(&s.UpdateStrategy, at.Child("updateStrategy"))...)
	errs = append(errs, validateRetention(s.PersistentVolumeClaimRetentionPolicy, at.Child("persistentVolumeClaimRetentionPolicy"))...)
	for i := range s.VolumeClaimTemplates {
		at, c := at.Child("volumeClaimTemplates").Index(i).Child("spec"), &s.VolumeClaimTemplates[i].Spec
		errs = append(errs, persistentvolumeclaim.ValidateSpec(c, at)...)
		errs = append(errs, persistentvolumeclaim.RefuseSpec(c, at)...)
	}
	errs = append(errs, workload.NonNegative(int64(ptr.Deref(s.Replicas, 0)), at.Child("replicas"))...)
	errs = append(errs, workload.NonNegative(int64(s.MinReadySeconds), at.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, workload.NonNegative(int64(s.Ordinals.Start), at.Child("ordinals.start"))...)
	}
	if s.ServiceName != "" {
		for _, msg := range validation.IsDNS1123Label(s.ServiceName) {
			errs = append(errs, field.Invalid(at.Child("serviceName"), s.ServiceName, msg))
		}
	}
	errs = append(errs, workload.ValidateSelector(s.Selector, at.Child("selector"), "empty selector is invalid for statefulset")...)
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		return append(errs, field.Invalid(at.Child("selector"), s.Selector, ""))
	}
	// Hostname and subdomain are the controller's to set.
	template := s.Template.DeepCopy()
	template.Spec.Hostname, template.Spec.Subdomain = "", ""
	template.Spec.Volumes = withClaims(s)
	return append(errs, workload.ValidateTemplate(template, selector, at.Child("template"), "StatefulSet")...)
}

// withClaims are the volumes that a pod of the set has: those of its claims, and
// those of the template that have other names.
func withClaims(s *appsv1.StatefulSetSpec) []corev1.Volume {
	var out []corev1.Volume
	has := func(name string) bool {
		return slices.ContainsFunc(out, func(v corev1.Volume) bool { return v.Name == name })
	}
	for i := range s.VolumeClaimTemplates {
		if name := s.VolumeClaimTemplates[i].Name; !has(name) {
			out = append(out, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}})
		}
	}
	claims := len(out)
	for _, v := range s.Template.Spec.Volumes {
		if !slices.ContainsFunc(out[:claims], func(c corev1.Volume) bool { return c.Name == v.Name }) {
			out = append(out, v)
		}
	}
	return out
}

func validateRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	for _, when := range []struct {
		name  string
		value appsv1.PersistentVolumeClaimRetentionPolicyType
	}{{"whenDeleted", p.WhenDeleted}, {"whenScaled", p.WhenScaled}} {
		known := []appsv1.PersistentVolumeClaimRetentionPolicyType{
			appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
		}
		if !slices.Contains(known, when.value) {
			errs = append(errs, field.NotSupported(at.Child(when.name), when.value, known))
		}
	}
	return errs
}

func validateStrategy(u *appsv1.StatefulSetUpdateStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch u.Type {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(rolling, kind.GoNames{Value: u.RollingUpdate}, "only allowed for updateStrategy 'RollingUpdate'")}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
	default:
		return field.ErrorList{field.Invalid(at, kind.GoNames{Value: u}, "must be 'RollingUpdate' or 'OnDelete'")}
	}
	r := u.RollingUpdate
	if r == nil {
		return nil
	}
	errs := workload.NonNegative(int64(ptr.Deref(r.Partition, 0)), rolling.Child("partition"))
	if m := r.MaxUnavailable; m != nil {
		most := rolling.Child("maxUnavailable")
		errs = append(errs, workload.ValidateShare(*m, most)...)
		if workload.Share(*m) == 0 {
			errs = append(errs, field.Invalid(most, *m, "cannot be 0"))
		}
		errs = append(errs, workload.AtMostAll(*m, most)...)
	}
	return errs
}
