// Package namespace declares the Namespace kind: its name label, the finalizer
// that keeps it until it is empty, and the end of its life.
package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

type rules = kind.Rules[*corev1.Namespace]

// Kind declares Namespace.
func Kind() kind.Kind[*corev1.Namespace] {
	return kind.Kind[*corev1.Namespace]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("Namespace"),
		Resource:            "namespaces",
		Singular:            "namespace",
		ShortNames:          []string{"ns"},
		UnconditionalUpdate: true,
		New:                 func() *corev1.Namespace { return &corev1.Namespace{} },
		NewList:             func() runtime.Object { return &corev1.NamespaceList{} },
		ValidName:           validation.NameIsDNSLabel,
		Fields: func(n *corev1.Namespace) fields.Set {
			// The bare name is a field of old clients.
			return fields.Set{"status.phase": string(n.Status.Phase), "name": n.Name}
		},
		Main: mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Status", "string", "The status of the namespace", false),
			kind.AgeColumn(),
		},
		Row: func(n *corev1.Namespace) []any {
			return []any{n.Name, string(n.Status.Phase), kind.Age(n.CreationTimestamp)}
		},
	}
}

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(n *corev1.Namespace) {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			setNameLabel(n)
			for _, f := range n.Spec.Finalizers {
				if f == corev1.FinalizerKubernetes {
					return
				}
			}
			n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
		},
		PrepareUpdate: func(n, old *corev1.Namespace) {
			n.Spec.Finalizers, n.Status = old.Spec.Finalizers, old.Status
			setNameLabel(n)
		},
		Validate: func(_ context.Context, n *corev1.Namespace) field.ErrorList {
			return validateFinalizers(n, func(int) *field.Path { return field.NewPath("spec", "finalizers") })
		},
	}
}

func statusRules() rules {
	return rules{
		Reset: []string{"spec"},
		PrepareUpdate: func(n, old *corev1.Namespace) {
			n.Spec = old.Spec
			setNameLabel(n)
		},
		ValidateUpdate: func(_ context.Context, n, _ *corev1.Namespace) field.ErrorList {
			want, when := corev1.NamespaceActive, "may only be 'Active' if `deletionTimestamp` is empty"
			if !n.DeletionTimestamp.IsZero() {
				want, when = corev1.NamespaceTerminating, "may only be 'Terminating' if `deletionTimestamp` is not empty"
			}
			if n.Status.Phase != want {
				return field.ErrorList{field.Invalid(field.NewPath("status", "Phase"), n.Status.Phase, when)}
			}
			return nil
		},
	}
}

func finalizeRules() rules {
	return rules{
		Reset: []string{"status"},
		PrepareUpdate: func(n, old *corev1.Namespace) {
			n.Status = old.Status
			setNameLabel(n)
		},
		ValidateUpdate: func(_ context.Context, n, _ *corev1.Namespace) field.ErrorList {
			return validateFinalizers(n, field.NewPath("spec", "finalizers").Index)
		},
	}
}

// setNameLabel gives every namespace the label by which selectors find it,
// whatever a client has written there.
func setNameLabel(n *corev1.Namespace) {
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	if n.Name != "" {
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
}

// validateFinalizers checks the finalizers of the spec. New ones are told of at
// the path of their list.
func validateFinalizers(n *corev1.Namespace, at func(i int) *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range n.Spec.Finalizers {
		errs = append(errs, validation.ValidateFinalizerName(string(f), at(i))...)
		errs = append(errs, kind.ValidateFinalizer(string(f), at(i))...)
	}
	return errs
}
