// Package controllerrevision declares the ControllerRevision kind: one state of
// a workload, which never changes.
package controllerrevision

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

// Kind declares ControllerRevision.
func Kind() kind.Kind[*appsv1.ControllerRevision] {
	return kind.Kind[*appsv1.ControllerRevision]{
		GVK:                 appsv1.SchemeGroupVersion.WithKind("ControllerRevision"),
		Resource:            "controllerrevisions",
		Singular:            "controllerrevision",
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} },
		NewList:             func() runtime.Object { return &appsv1.ControllerRevisionList{} },
		Main: kind.Rules[*appsv1.ControllerRevision]{
			Validate: func(_ context.Context, r *appsv1.ControllerRevision) field.ErrorList { return validate(r) },
			ValidateUpdate: func(_ context.Context, r, old *appsv1.ControllerRevision) field.ErrorList {
				errs := workload.NonNegative(r.Revision, field.NewPath("revision"))
				return append(errs, workload.Immutable(r.Data, old.Data, field.NewPath("data"))...)
			},
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Controller", "string", "Controller of the object", false),
			kind.Column("Revision", "string", appsv1.ControllerRevision{}.SwaggerDoc()["revision"], false),
			kind.AgeColumn(),
		},
		Row: func(r *appsv1.ControllerRevision) []any {
			return []any{r.Name, controller(r), r.Revision, kind.Age(r.CreationTimestamp)}
		},
	}
}

func validate(r *appsv1.ControllerRevision) field.ErrorList {
	errs := workload.NonNegative(r.Revision, field.NewPath("revision"))
	if len(r.Data.Raw) == 0 && r.Data.Object == nil {
		errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
	}
	return errs
}

// controller is the owner as kubectl names it.
func controller(r *appsv1.ControllerRevision) string {
	ref := metav1.GetControllerOfNoCopy(r)
	if ref == nil {
		return "<none>"
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "<none>"
	}
	return strings.ToLower(gv.WithKind(ref.Kind).GroupKind().String()) + "/" + ref.Name
}
