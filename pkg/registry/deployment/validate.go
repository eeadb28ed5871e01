package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(d *appsv1.Deployment) {
			d.Status, d.Generation = appsv1.DeploymentStatus{}, 1
			workload.PrepareTemplate(&d.Spec.Template.Spec)
		},
		PrepareUpdate: func(d, old *appsv1.Deployment) {
			d.Status = old.Status
			workload.PrepareTemplate(&d.Spec.Template.Spec)
			// Annotations are copied to ReplicaSets, so they count too.
			if workload.Changed(d.Spec, old.Spec) || workload.Changed(d.Annotations, old.Annotations) {
				d.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, d *appsv1.Deployment) field.ErrorList {
			return append(Validate(d), workload.ValidateRollback(d.Annotations, nil)...)
		},
		ValidateUpdate: func(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
			errs := workload.ValidateRollback(d.Annotations, old.Annotations)
			if !workload.Changed(d.Spec, old.Spec) {
				return errs
			}
			errs = append(errs, Validate(d)...)
			return append(errs, workload.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
		},
		Warnings: func(d *appsv1.Deployment) []string {
			return append(workload.NameWarnings(d.Name), pod.TemplateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))...)
		},
	}
}

func statusRules() rules {
	return rules{
		Reset: []string{"spec", "metadata.labels"},
		PrepareUpdate: func(d, old *appsv1.Deployment) {
			d.Spec, d.Labels = old.Spec, old.Labels
		},
		ValidateUpdate: func(_ context.Context, d, old *appsv1.Deployment) field.ErrorList {
			return validateStatus(&d.Status, &old.Status)
		},
	}
}

// Validate checks the spec.
func Validate(d *appsv1.Deployment) field.ErrorList {
	s, at := &d.Spec, field.NewPath("spec")
	errs := workload.NonNegative(int64(ptr.Deref(s.Replicas, 0)), at.Child("replicas"))
	errs = append(errs, workload.ValidateSelector(s.Selector, at.Child("selector"), "empty selector is invalid for deployment")...)
	if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err != nil {
		errs = append(errs, field.Invalid(at.Child("selector"), s.Selector, "invalid label selector"))
	} else {
		errs = append(errs, workload.ValidateTemplate(&s.Template, selector, at.Child("template"), "ReplicaSet")...)
	}
	errs = append(errs, validateStrategy(&s.Strategy, at.Child("strategy"))...)
	errs = append(errs, workload.NonNegative(int64(s.MinReadySeconds), at.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, workload.NonNegative(int64(*s.RevisionHistoryLimit), at.Child("revisionHistoryLimit"))...)
	}
	if deadline := at.Child("progressDeadlineSeconds"); s.ProgressDeadlineSeconds != nil {
		errs = append(errs, workload.NonNegative(int64(*s.ProgressDeadlineSeconds), deadline)...)
		if *s.ProgressDeadlineSeconds <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(deadline, *s.ProgressDeadlineSeconds, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateStrategy(s *appsv1.DeploymentStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil || s.RollingUpdate.MaxUnavailable == nil || s.RollingUpdate.MaxSurge == nil {
			return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
		}
	default:
		return field.ErrorList{field.NotSupported(at, kind.GoNames{Value: s}, []string{
			string(appsv1.RecreateDeploymentStrategyType), string(appsv1.RollingUpdateDeploymentStrategyType),
		})}
	}
	unavailable, surge := *s.RollingUpdate.MaxUnavailable, *s.RollingUpdate.MaxSurge
	errs := workload.ValidateShare(unavailable, rolling.Child("maxUnavailable"))
	errs = append(errs, workload.ValidateShare(surge, rolling.Child("maxSurge"))...)
	if workload.Share(unavailable) == 0 && workload.Share(surge) == 0 {
		errs = append(errs, field.Invalid(rolling.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, workload.AtMostAll(unavailable, rolling.Child("maxUnavailable"))...)
}

func validateStatus(s, old *appsv1.DeploymentStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := workload.NonNegative(s.ObservedGeneration, at.Child("observedGeneration"))
	errs = append(errs, workload.ValidateCounts(s.Replicas, []workload.Counts{
		{Field: "updatedReplicas", N: s.UpdatedReplicas}, {Field: "readyReplicas", N: s.ReadyReplicas},
		{Field: "availableReplicas", N: s.AvailableReplicas},
	}, at)...)
	errs = append(errs, workload.NonNegative(int64(s.UnavailableReplicas), at.Child("unavailableReplicas"))...)
	errs = append(errs, workload.NonNegative(int64(ptr.Deref(s.TerminatingReplicas, 0)), at.Child("terminatingReplicas"))...)
	errs = append(errs, workload.ValidateAvailable(s.AvailableReplicas, s.ReadyReplicas, at)...)
	now := ptr.Deref(s.CollisionCount, 0)
	errs = append(errs, workload.NonNegative(int64(now), at.Child("collisionCount"))...)
	if old.CollisionCount != nil && now < *old.CollisionCount {
		errs = append(errs, field.Invalid(at.Child("collisionCount"), now, "cannot be decremented"))
	}
	return errs
}
