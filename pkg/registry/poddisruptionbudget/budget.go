// Package poddisruptionbudget declares the PodDisruptionBudget kind, and spends
// budgets when pods are evicted.
package poddisruptionbudget

import (
	"context"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

type rules = kind.Rules[*policyv1.PodDisruptionBudget]

// Kind declares PodDisruptionBudget.
func Kind() kind.Kind[*policyv1.PodDisruptionBudget] {
	return kind.Kind[*policyv1.PodDisruptionBudget]{
		GVK:        policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"),
		Resource:   "poddisruptionbudgets",
		Singular:   "poddisruptionbudget",
		ShortNames: []string{"pdb"},
		Namespaced: true,
		New:        func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} },
		NewList:    func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		Main:       mainRules(),
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Min Available", "string", "The minimum number of pods that must be available.", false),
			kind.Column("Max Unavailable", "string", "The maximum number of pods that may be unavailable.", false),
			kind.Column("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time.", false),
			kind.AgeColumn(),
		},
		Row: func(b *policyv1.PodDisruptionBudget) []any {
			return []any{
				b.Name, orNone(b.Spec.MinAvailable), orNone(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), kind.Age(b.CreationTimestamp),
			}
		},
	}
}

func orNone(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

// NewStorage serves the kind with its status, and returns what spends budgets.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, *Budgets, error) {
	s, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, nil, err
	}
	status := s.Sub(statusRules())
	return map[string]rest.Storage{"poddisruptionbudgets": s, "poddisruptionbudgets/status": status}, &Budgets{all: s, status: status}, nil
}

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(b, old *policyv1.PodDisruptionBudget) { b.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateStatus(&b.Status, field.NewPath("status"))
		},
	}
}

func mainRules() rules {
	return rules{
		Reset: []string{"status"},
		Prepare: func(b *policyv1.PodDisruptionBudget) {
			b.Status, b.Generation = policyv1.PodDisruptionBudgetStatus{}, 1
		},
		PrepareUpdate: func(b, old *policyv1.PodDisruptionBudget) {
			b.Status = old.Status
			if workload.Changed(b.Spec, old.Spec) {
				b.Generation = old.Generation + 1
			}
		},
		Validate:       func(_ context.Context, b *policyv1.PodDisruptionBudget) field.ErrorList { return Validate(b) },
		ValidateUpdate: func(_ context.Context, b, _ *policyv1.PodDisruptionBudget) field.ErrorList { return Validate(b) },
	}
}

// Validate checks the spec.
func Validate(b *policyv1.PodDisruptionBudget) field.ErrorList {
	s, at := &b.Spec, field.NewPath("spec")
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, kind.GoNames{Value: *s}, "minAvailable and maxUnavailable cannot be both set"))
	}
	for _, share := range []struct {
		name string
		v    *intstr.IntOrString
	}{{"minAvailable", s.MinAvailable}, {"maxUnavailable", s.MaxUnavailable}} {
		if share.v != nil {
			errs = append(errs, workload.ValidateShare(*share.v, at.Child(share.name))...)
			errs = append(errs, workload.AtMostAll(*share.v, at.Child(share.name))...)
		}
	}
	errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil && *p != policyv1.AlwaysAllow && *p != policyv1.IfHealthyBudget {
		errs = append(errs, field.NotSupported(at.Child("unhealthyPodEvictionPolicy"), *p,
			[]policyv1.UnhealthyPodEvictionPolicyType{policyv1.AlwaysAllow, policyv1.IfHealthyBudget}))
	}
	return errs
}

func validateStatus(s *policyv1.PodDisruptionBudgetStatus, at *field.Path) field.ErrorList {
	errs := metavalidation.ValidateConditions(s.Conditions, at.Child("conditions"))
	errs = append(errs, workload.NonNegative(int64(s.DisruptionsAllowed), at.Child("disruptionsAllowed"))...)
	errs = append(errs, workload.NonNegative(int64(s.CurrentHealthy), at.Child("currentHealthy"))...)
	errs = append(errs, workload.NonNegative(int64(s.DesiredHealthy), at.Child("desiredHealthy"))...)
	return append(errs, workload.NonNegative(int64(s.ExpectedPods), at.Child("expectedPods"))...)
}
