// Package daemonset declares the DaemonSet kind: its defaults, what a valid one
// is and how it is printed.
package daemonset

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*appsv1.DaemonSet]

// Kind declares DaemonSet.
func Kind() kind.Kind[*appsv1.DaemonSet] {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return kind.Kind[*appsv1.DaemonSet]{
		GVK:                 appsv1.SchemeGroupVersion.WithKind("DaemonSet"),
		Resource:            "daemonsets",
		Singular:            "daemonset",
		ShortNames:          []string{"ds"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} },
		NewList:             func() runtime.Object { return &appsv1.DaemonSetList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Desired", "integer", status["desiredNumberScheduled"], false),
			kind.Column("Current", "integer", status["currentNumberScheduled"], false),
			kind.Column("Ready", "integer", status["numberReady"], false),
			kind.Column("Up-to-date", "integer", status["updatedNumberScheduled"], false),
			kind.Column("Available", "integer", status["numberAvailable"], false),
			kind.Column("Node Selector", "string", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], false),
			kind.AgeColumn(),
			workload.ContainersColumn(), workload.ImagesColumn(), workload.SelectorColumn(appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"]),
		},
		Row: func(d *appsv1.DaemonSet) []any {
			names, images := workload.Containers(&d.Spec.Template)
			s := d.Status
			return []any{
				d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
				int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable), labels.FormatLabels(d.Spec.Template.Spec.NodeSelector),
				kind.Age(d.CreationTimestamp), names, images, metav1.FormatLabelSelector(d.Spec.Selector),
			}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(d *appsv1.DaemonSet) {
	pod.SetTemplateDefaults(&d.Spec.Template.Spec)
	u := &d.Spec.UpdateStrategy
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if u.RollingUpdate == nil {
			u.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		if u.RollingUpdate.MaxUnavailable == nil {
			u.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
		if u.RollingUpdate.MaxSurge == nil {
			u.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
		}
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](10)
	}
}

// NewStorage serves the kind with its status.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{"daemonsets": s, "daemonsets/status": s.Sub(statusRules())}, nil
}

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(d *appsv1.DaemonSet) {
			d.Status, d.Generation = appsv1.DaemonSetStatus{}, 1
			workload.PrepareTemplate(&d.Spec.Template.Spec)
			setGeneration(d, 1)
		},
		PrepareUpdate: func(d, old *appsv1.DaemonSet) {
			d.Status = old.Status
			workload.PrepareTemplate(&d.Spec.Template.Spec)
			if workload.Changed(d.Spec, old.Spec) {
				d.Generation = old.Generation + 1
			}
			template := generation(old)
			if workload.Changed(d.Spec.Template, old.Spec.Template) {
				template++
			}
			setGeneration(d, template)
		},
		Validate: func(_ context.Context, d *appsv1.DaemonSet) field.ErrorList {
			return append(Validate(d), workload.ValidateRollback(d.Annotations, nil)...)
		},
		ValidateUpdate: func(_ context.Context, d, old *appsv1.DaemonSet) field.ErrorList {
			errs := workload.ValidateRollback(d.Annotations, old.Annotations)
			if !workload.Changed(d.Spec, old.Spec) {
				return errs
			}
			errs = append(errs, workload.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
			return append(errs, Validate(d)...)
		},
		Warnings: func(d *appsv1.DaemonSet) []string {
			return pod.TemplateWarnings(&d.Spec.Template, field.NewPath("spec", "template"))
		},
	}
}

// generation is how many templates there have been, which old clients look for
// in an annotation.
func generation(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func setGeneration(d *appsv1.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

// Validate checks the spec.
func Validate(d *appsv1.DaemonSet) field.ErrorList {
	s, at := &d.Spec, field.NewPath("spec")
	errs := metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err == nil && !selector.Matches(labels.Set(s.Template.Labels)) {
		errs = append(errs, field.Invalid(at.Child("template", "metadata", "labels"), s.Template.Labels, "`selector` does not match template `labels`"))
	}
	if s.Selector != nil && len(s.Selector.MatchLabels)+len(s.Selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at.Child("selector"), s.Selector, "empty selector is invalid for daemonset"))
	}
	errs = append(errs, pod.ValidateTemplate(&s.Template, at.Child("template"))...)
	errs = append(errs, workload.ValidateRunsForever(&s.Template, at.Child("template"), "DaemonSet")...)
	errs = append(errs, workload.NonNegative(int64(s.MinReadySeconds), at.Child("minReadySeconds"))...)
	errs = append(errs, validateStrategy(&s.UpdateStrategy, at.Child("updateStrategy"))...)
	return append(errs, workload.NonNegative(int64(ptr.Deref(s.RevisionHistoryLimit, 0)), at.Child("revisionHistoryLimit"))...)
}

func validateStrategy(u *appsv1.DaemonSetUpdateStrategy, at *field.Path) field.ErrorList {
	switch u.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
	default:
		return field.ErrorList{field.NotSupported(at, kind.GoNames{Value: *u}, []string{
			string(appsv1.RollingUpdateDaemonSetStrategyType), string(appsv1.OnDeleteDaemonSetStrategyType),
		})}
	}
	rolling := at.Child("rollingUpdate")
	if u.RollingUpdate == nil {
		return field.ErrorList{field.Required(rolling, "")}
	}
	unavailable := ptr.Deref(u.RollingUpdate.MaxUnavailable, intstr.FromInt32(0))
	surge := ptr.Deref(u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	errs := workload.ValidateShare(unavailable, rolling.Child("maxUnavailable"))
	errs = append(errs, workload.ValidateShare(surge, rolling.Child("maxSurge"))...)
	errs = append(errs, workload.AtMostAll(unavailable, rolling.Child("maxUnavailable"))...)
	errs = append(errs, workload.AtMostAll(surge, rolling.Child("maxSurge"))...)
	switch some, more := workload.Share(unavailable) != 0, workload.Share(surge) != 0; {
	case some && more:
		errs = append(errs, field.Invalid(rolling.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case !some && !more:
		errs = append(errs, field.Required(rolling.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(d, old *appsv1.DaemonSet) { d.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, d, old *appsv1.DaemonSet) field.ErrorList {
			return validateStatus(&d.Status, &old.Status, field.NewPath("status"))
		},
	}
}

func validateStatus(s, old *appsv1.DaemonSetStatus, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"currentNumberScheduled", int64(s.CurrentNumberScheduled)},
		{"numberMisscheduled", int64(s.NumberMisscheduled)},
		{"desiredNumberScheduled", int64(s.DesiredNumberScheduled)},
		{"numberReady", int64(s.NumberReady)},
		{"observedGeneration", s.ObservedGeneration},
		{"updatedNumberScheduled", int64(s.UpdatedNumberScheduled)},
		{"numberAvailable", int64(s.NumberAvailable)},
		{"numberUnavailable", int64(s.NumberUnavailable)},
		{"collisionCount", int64(ptr.Deref(s.CollisionCount, 0))},
	} {
		errs = append(errs, workload.NonNegative(n.value, at.Child(n.name))...)
	}
	if now := ptr.Deref(s.CollisionCount, 0); old.CollisionCount != nil && now < *old.CollisionCount {
		errs = append(errs, field.Invalid(at.Child("collisionCount"), now, "cannot be decremented"))
	}
	return errs
}
