// Package limitrange declares the LimitRange kind, and holds pods to what the
// ranges of their namespace say. It must not know how ranges are found.
package limitrange

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
	"github.com/carob-project/carob/pkg/registry/kind"
)

// Kind declares LimitRange.
func Kind() kind.Kind[*corev1.LimitRange] {
	return kind.Kind[*corev1.LimitRange]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("LimitRange"),
		Resource:            "limitranges",
		Singular:            "limitrange",
		ShortNames:          []string{"limits"},
		Namespaced:          true,
		CreateOnUpdate:      true,
		UnconditionalUpdate: true,
		New:                 func() *corev1.LimitRange { return &corev1.LimitRange{} },
		NewList:             func() runtime.Object { return &corev1.LimitRangeList{} },
		Main: kind.Rules[*corev1.LimitRange]{
			Prepare: func(l *corev1.LimitRange) {
				if l.Name == "" {
					l.Name = string(uuid.NewUUID())
				}
			},
			Validate:       func(_ context.Context, l *corev1.LimitRange) field.ErrorList { return Validate(l) },
			ValidateUpdate: func(_ context.Context, l, _ *corev1.LimitRange) field.ErrorList { return Validate(l) },
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Created At", "date", metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], false),
		},
		Row: func(l *corev1.LimitRange) []any {
			return []any{l.Name, l.CreationTimestamp.UTC().Format("2006-01-02T15:04:05Z")}
		},
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults completes what containers get: the limit is the most they may
// have, and the request is the limit, else the least.
func SetDefaults(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		item.Default = filled(item.Default, item.Max)
		item.DefaultRequest = filled(filled(item.DefaultRequest, item.Default), item.Min)
	}
}

// filled adds to the list what only the other one has.
func filled(list, more corev1.ResourceList) corev1.ResourceList {
	if list == nil {
		list = corev1.ResourceList{}
	}
	for name, q := range more {
		if _, has := list[name]; !has {
			list[name] = q.DeepCopy()
		}
	}
	return list
}

// Validate checks the whole range.
func Validate(l *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.LimitType]bool{}
	for i := range l.Spec.Limits {
		item, at := &l.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		errs = append(errs, validateType(item.Type, at.Child("type"))...)
		if seen[item.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), item.Type))
		}
		seen[item.Type] = true
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			errs = append(errs, validateClaimItem(item, at)...)
			continue
		}
		errs = append(errs, validateItem(item, at)...)
	}
	return errs
}

func validateType(t corev1.LimitType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(string(t)) {
		errs = append(errs, field.Invalid(at, t, msg))
	}
	switch {
	case len(errs) > 0 || t == corev1.LimitTypeContainer || t == corev1.LimitTypePod || t == corev1.LimitTypePersistentVolumeClaim:
	case strings.Contains(string(t), "/"):
		errs = append(errs, field.Forbidden(at, fields.NotYet+"nothing acts by it; use Container or Pod"))
	default:
		errs = append(errs, field.Invalid(at, t, "must be a standard limit type or fully qualified"))
	}
	return errs
}
