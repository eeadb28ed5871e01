// Package lease declares the Lease kind, which nodes renew as their heartbeat
// and which elects leaders.
package lease

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// Kind declares Lease.
func Kind() kind.Kind[*coordinationv1.Lease] {
	return kind.Kind[*coordinationv1.Lease]{
		GVK:            coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Resource:       "leases",
		Singular:       "lease",
		Namespaced:     true,
		CreateOnUpdate: true,
		New:            func() *coordinationv1.Lease { return &coordinationv1.Lease{} },
		NewList:        func() runtime.Object { return &coordinationv1.LeaseList{} },
		Main: kind.Rules[*coordinationv1.Lease]{
			Validate: func(_ context.Context, l *coordinationv1.Lease) field.ErrorList { return Validate(&l.Spec) },
			ValidateUpdate: func(_ context.Context, l, _ *coordinationv1.Lease) field.ErrorList {
				return Validate(&l.Spec)
			},
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Holder", "string", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"], false),
			kind.AgeColumn(),
		},
		Row: func(l *coordinationv1.Lease) []any {
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{l.Name, holder, kind.Age(l.CreationTimestamp)}
		},
	}
}

// Validate checks a lease's spec.
func Validate(s *coordinationv1.LeaseSpec) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if d := s.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(at.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := s.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if s.Strategy != nil {
		errs = append(errs, kind.ValidateQualifiedName(at.Child("strategy"), string(*s.Strategy))...)
	}
	if p := s.PreferredHolder; p != nil && *p != "" && (s.Strategy == nil || *s.Strategy == "") {
		errs = append(errs, field.Forbidden(at.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}
