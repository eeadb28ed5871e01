// Package replicationcontroller declares the ReplicationController kind, the
// older form of a ReplicaSet: its defaults, what a valid one is, its scale and
// how it is printed.
package replicationcontroller

import (
	"context"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*corev1.ReplicationController]

// Kind declares ReplicationController.
func Kind() kind.Kind[*corev1.ReplicationController] {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	return kind.Kind[*corev1.ReplicationController]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Resource:            "replicationcontrollers",
		Singular:            "replicationcontroller",
		ShortNames:          []string{"rc"},
		Categories:          []string{"all"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		OrphanDependents:    true,
		New:                 func() *corev1.ReplicationController { return &corev1.ReplicationController{} },
		NewList:             func() runtime.Object { return &corev1.ReplicationControllerList{} },
		Main:                mainRules(),
		Fields: func(r *corev1.ReplicationController) fields.Set {
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
		Row: func(r *corev1.ReplicationController) []any {
			names, images := workload.Containers(ptr.To(ptr.Deref(r.Spec.Template, corev1.PodTemplateSpec{})))
			return []any{
				r.Name, int64(ptr.Deref(r.Spec.Replicas, 0)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
				kind.Age(r.CreationTimestamp), names, images, labels.FormatLabels(r.Spec.Selector),
			}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults: selector and labels
// are those of the template.
func SetDefaults(r *corev1.ReplicationController) {
	if t := r.Spec.Template; t != nil {
		pod.SetTemplateDefaults(&t.Spec)
		if len(r.Spec.Selector) == 0 {
			r.Spec.Selector = maps.Clone(t.Labels)
		}
		if len(r.Labels) == 0 {
			r.Labels = maps.Clone(t.Labels)
		}
	}
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
		"replicationcontrollers":        s,
		"replicationcontrollers/status": s.Sub(statusRules()),
		"replicationcontrollers/scale": s.Scale(kind.Scaling[*corev1.ReplicationController]{
			Replicas: func(r *corev1.ReplicationController) **int32 { return &r.Spec.Replicas },
			Status: func(r *corev1.ReplicationController) (int32, string) {
				return r.Status.Replicas, labels.Set(r.Spec.Selector).AsSelector().String()
			},
		}),
	}, nil
}

func mainRules() rules {
	prepare := func(r *corev1.ReplicationController) {
		if r.Spec.Template != nil {
			workload.PrepareTemplate(&r.Spec.Template.Spec)
		}
	}
	return rules{
		Reset: []string{"status"},
		Prepare: func(r *corev1.ReplicationController) {
			r.Status, r.Generation = corev1.ReplicationControllerStatus{}, 1
			prepare(r)
		},
		PrepareUpdate: func(r, old *corev1.ReplicationController) {
			r.Status = old.Status
			prepare(r)
			if workload.Changed(r.Spec, old.Spec) {
				r.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, r *corev1.ReplicationController) field.ErrorList { return Validate(r) },
		ValidateUpdate: func(_ context.Context, r, old *corev1.ReplicationController) field.ErrorList {
			if !workload.Changed(r.Spec, old.Spec) {
				return nil
			}
			return Validate(r)
		},
		Warnings: func(r *corev1.ReplicationController) []string {
			out := workload.NameWarnings(r.Name)
			if r.Spec.Template == nil {
				return out
			}
			return append(out, pod.TemplateWarnings(r.Spec.Template, field.NewPath("spec", "template"))...)
		},
	}
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(r, old *corev1.ReplicationController) { r.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, r, _ *corev1.ReplicationController) field.ErrorList {
			s, at := &r.Status, field.NewPath("status")
			errs := workload.ValidateCounts(s.Replicas, []workload.Counts{
				{Field: "fullyLabeledReplicas", N: s.FullyLabeledReplicas}, {Field: "readyReplicas", N: s.ReadyReplicas},
				{Field: "availableReplicas", N: s.AvailableReplicas},
			}, at)
			errs = append(errs, workload.NonNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
			return append(errs, workload.ValidateAvailable(s.AvailableReplicas, s.ReadyReplicas, at)...)
		},
	}
}

// Validate checks the spec.
func Validate(r *corev1.ReplicationController) field.ErrorList {
	s, at := &r.Spec, field.NewPath("spec")
	errs := workload.NonNegative(int64(s.MinReadySeconds), at.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(at.Child("selector"), ""))
	}
	if s.Replicas == nil {
		errs = append(errs, field.Required(at.Child("replicas"), ""))
	} else {
		errs = append(errs, workload.NonNegative(int64(*s.Replicas), at.Child("replicas"))...)
	}
	if s.Template == nil {
		return append(errs, field.Required(at.Child("template"), ""))
	}
	selector := labels.Set(s.Selector).AsSelector()
	return append(errs, workload.ValidateTemplate(s.Template, selector, at.Child("template"), "ReplicationController")...)
}
