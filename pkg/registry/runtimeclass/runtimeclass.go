// Package runtimeclass declares the RuntimeClass kind: what a valid one is, and
// how it is printed.
package runtimeclass

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
)

// Kind declares RuntimeClass.
func Kind() kind.Kind[*nodev1.RuntimeClass] {
	return kind.Kind[*nodev1.RuntimeClass]{
		GVK:      nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
		Resource: "runtimeclasses",
		Singular: "runtimeclass",
		New:      func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} },
		NewList:  func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Main: kind.Rules[*nodev1.RuntimeClass]{
			Validate: func(_ context.Context, c *nodev1.RuntimeClass) field.ErrorList { return Validate(c) },
			ValidateUpdate: func(_ context.Context, c, old *nodev1.RuntimeClass) field.ErrorList {
				return ValidateUpdate(c, old)
			},
			Warnings: warnings,
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Handler", "string", nodev1.RuntimeClass{}.SwaggerDoc()["handler"], false),
			kind.AgeColumn(),
		},
		Row: func(c *nodev1.RuntimeClass) []any { return []any{c.Name, c.Handler, kind.Age(c.CreationTimestamp)} },
	}
}

// Validate checks a new class.
func Validate(c *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	handler := field.NewPath("handler")
	if c.Handler == "" {
		errs = append(errs, field.Required(handler, ""))
	} else {
		for _, msg := range apivalidation.NameIsDNSLabel(c.Handler, false) {
			errs = append(errs, field.Invalid(handler, c.Handler, msg))
		}
	}
	if c.Overhead != nil {
		// Kubernetes reports these amounts as limits below the overhead.
		errs = append(errs, pod.ValidateResourceList(c.Overhead.PodFixed, field.NewPath("overhead", "limits"))...)
	}
	if s := c.Scheduling; s != nil {
		at := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, at.Child("nodeSelector"))...)
		errs = append(errs, pod.ValidateTolerations(s.Tolerations, at.Child("tolerations"))...)
		errs = append(errs, unique(s.Tolerations, at.Child("tolerations"))...)
	}
	return errs
}

// ValidateUpdate keeps the handler, as containers run by it.
func ValidateUpdate(c, old *nodev1.RuntimeClass) field.ErrorList {
	at := field.NewPath("handler")
	var errs field.ErrorList
	if c.Handler != old.Handler {
		errs = append(errs, field.Invalid(at, nil, "field is immutable"))
	}
	if c.Handler == "" {
		errs = append(errs, field.Required(at, ""))
	}
	return errs
}

func warnings(c *nodev1.RuntimeClass) []string {
	if c.Scheduling == nil {
		return nil
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		if now, ok := pod.OldNodeLabel(key); ok {
			out = append(out, "scheduling.nodeSelector: "+now)
		}
	}
	return out
}

func unique(tolerations []corev1.Toleration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.Toleration]bool{}
	for i, t := range tolerations {
		key := corev1.Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: t.Effect}
		if seen[key] {
			errs = append(errs, field.Duplicate(at.Index(i), kind.GoNames{Value: t}))
		}
		seen[key] = true
	}
	return errs
}
