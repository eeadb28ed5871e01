// Package replicaset declares the ReplicaSet kind: its defaults, what a valid
// one is, its scale and how it is printed.
package replicaset

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*appsv1.ReplicaSet]

// Kind declares ReplicaSet.
func Kind() kind.Kind[*appsv1.ReplicaSet] {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return kind.Kind[*appsv1.ReplicaSet]{
		GVK:                 appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Resource:            "replicasets",
		Singular:            "replicaset",
		ShortNames:          []string{"rs"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} },
		NewList:             func() runtime.Object { return &appsv1.ReplicaSetList{} },
		Main:                mainRules(),
		Fields: func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Desired", "integer", spec["replicas"], false),
			kind.Column("Current", "integer", status["replicas"], false),
			kind.Column("Ready", "integer", status["readyReplicas"], false),
			kind.AgeColumn(),
			workload.ContainersColumn(), workload.ImagesColumn(), workload.SelectorColumn(spec["selector"]),
		},
		Row: func(r *appsv1.ReplicaSet) []any {
			names, images := workload.Containers(&r.Spec.Template)
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				kind.Age(r.CreationTimestamp), names, images, metav1.FormatLabelSelector(r.Spec.Selector),
			}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(r *appsv1.ReplicaSet) {
	pod.SetTemplateDefaults(&r.Spec.Template.Spec)
	if r.Spec.Replicas == nil {
		r.Spec.Replicas = ptr.To[int32](1)
	}
}

// NewStorage serves the kind with its status and scale.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	return map[string]rest.Storage{
		"replicasets":        s,
		"replicasets/status": s.Sub(statusRules()),
		"replicasets/scale": s.Scale(kind.Scaling[*appsv1.ReplicaSet]{
			Replicas: func(r *appsv1.ReplicaSet) **int32 { return &r.Spec.Replicas },
			Status: func(r *appsv1.ReplicaSet) (int32, string) {
				return workload.Scaled(r.Status.Replicas, r.Spec.Selector)
			},
		}),
	}, nil
}

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(r *appsv1.ReplicaSet) {
			r.Status, r.Generation = appsv1.ReplicaSetStatus{}, 1
			workload.PrepareTemplate(&r.Spec.Template.Spec)
		},
		PrepareUpdate: func(r, old *appsv1.ReplicaSet) {
			r.Status = old.Status
			workload.PrepareTemplate(&r.Spec.Template.Spec)
			if workload.Changed(r.Spec, old.Spec) {
				r.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, r *appsv1.ReplicaSet) field.ErrorList { return Validate(r) },
		ValidateUpdate: func(_ context.Context, r, old *appsv1.ReplicaSet) field.ErrorList {
			if !workload.Changed(r.Spec, old.Spec) {
				return nil
			}
			return append(Validate(r), workload.Immutable(r.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
		},
		Warnings: func(r *appsv1.ReplicaSet) []string {
			return append(workload.NameWarnings(r.Name), pod.TemplateWarnings(&r.Spec.Template, field.NewPath("spec", "template"))...)
		},
	}
}

func statusRules() rules {
	return rules{
		Reset: []string{"spec"},
		PrepareUpdate: func(r, old *appsv1.ReplicaSet) {
			r.Spec = old.Spec
		},
		ValidateUpdate: func(_ context.Context, r, _ *appsv1.ReplicaSet) field.ErrorList { return validateStatus(&r.Status) },
	}
}

// Validate checks the spec.
func Validate(r *appsv1.ReplicaSet) field.ErrorList {
	s, at := &r.Spec, field.NewPath("spec")
	errs := workload.NonNegative(int64(ptr.Deref(s.Replicas, 0)), at.Child("replicas"))
	errs = append(errs, workload.NonNegative(int64(s.MinReadySeconds), at.Child("minReadySeconds"))...)
	errs = append(errs, workload.ValidateSelector(s.Selector, at.Child("selector"), "empty selector is invalid for deployment")...)
	selector, err := metav1.LabelSelectorAsSelector(s.Selector)
	if err != nil {
		return append(errs, field.Invalid(at.Child("selector"), s.Selector, "invalid label selector"))
	}
	return append(errs, workload.ValidateTemplate(&s.Template, selector, at.Child("template"), "ReplicaSet")...)
}

func validateStatus(s *appsv1.ReplicaSetStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := workload.ValidateCounts(s.Replicas, []workload.Counts{
		{Field: "fullyLabeledReplicas", N: s.FullyLabeledReplicas}, {Field: "readyReplicas", N: s.ReadyReplicas},
		{Field: "availableReplicas", N: s.AvailableReplicas},
	}, at)
	errs = append(errs, workload.NonNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, workload.NonNegative(int64(ptr.Deref(s.TerminatingReplicas, 0)), at.Child("terminatingReplicas"))...)
	return append(errs, workload.ValidateAvailable(s.AvailableReplicas, s.ReadyReplicas, at)...)
}
