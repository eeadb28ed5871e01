// Package podtemplate declares the PodTemplate kind: a template that is stored
// for others to use. It must not know who does; nothing in carob acts by it.
package podtemplate

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
	"github.com/carob-project/carob/pkg/registry/workload"
)

// Kind declares PodTemplate.
func Kind() kind.Kind[*corev1.PodTemplate] {
	return kind.Kind[*corev1.PodTemplate]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("PodTemplate"),
		Resource:            "podtemplates",
		Singular:            "podtemplate",
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *corev1.PodTemplate { return &corev1.PodTemplate{} },
		NewList:             func() runtime.Object { return &corev1.PodTemplateList{} },
		Main:                mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Containers", "string", "Names of each container in the template.", false),
			kind.Column("Images", "string", "Images referenced by each container in the template.", false),
			kind.Column("Pod Labels", "string", "The labels for the pod template.", false),
		},
		Row: func(t *corev1.PodTemplate) []any {
			names, images := workload.Containers(&t.Template)
			return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults of a template.
func SetDefaults(t *corev1.PodTemplate) { pod.SetTemplateDefaults(&t.Template.Spec) }

func mainRules() kind.Rules[*corev1.PodTemplate] {
	at := field.NewPath("template")
	return kind.Rules[*corev1.PodTemplate]{
		Prepare: func(t *corev1.PodTemplate) {
			t.Generation = 1
			workload.PrepareTemplate(&t.Template.Spec)
		},
		PrepareUpdate: func(t, old *corev1.PodTemplate) {
			workload.PrepareTemplate(&t.Template.Spec)
			if workload.Changed(t.Template, old.Template) {
				t.Generation = old.Generation + 1
			}
		},
		Validate: func(_ context.Context, t *corev1.PodTemplate) field.ErrorList {
			return pod.ValidateTemplate(&t.Template, at)
		},
		ValidateUpdate: func(_ context.Context, t, old *corev1.PodTemplate) field.ErrorList {
			if !workload.Changed(t.Template, old.Template) {
				return nil
			}
			return pod.ValidateTemplate(&t.Template, at)
		},
		Warnings: func(t *corev1.PodTemplate) []string { return pod.TemplateWarnings(&t.Template, at) },
	}
}
