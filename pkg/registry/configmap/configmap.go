// Package configmap declares the ConfigMap kind: what a valid one is, and how
// it is printed.
package configmap

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// MaxSize bounds all values together, in bytes.
const MaxSize = 1 << 20

// Kind declares ConfigMap.
func Kind() kind.Kind[*corev1.ConfigMap] {
	return kind.Kind[*corev1.ConfigMap]{
		GVK:                 corev1.SchemeGroupVersion.WithKind("ConfigMap"),
		Resource:            "configmaps",
		Singular:            "configmap",
		ShortNames:          []string{"cm"},
		Namespaced:          true,
		UnconditionalUpdate: true,
		New:                 func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
		NewList:             func() runtime.Object { return &corev1.ConfigMapList{} },
		Main: kind.Rules[*corev1.ConfigMap]{
			Validate: func(_ context.Context, c *corev1.ConfigMap) field.ErrorList { return Validate(c) },
			ValidateUpdate: func(_ context.Context, c, old *corev1.ConfigMap) field.ErrorList {
				return append(Validate(c), validateImmutable(c, old)...)
			},
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Data", "string", corev1.ConfigMap{}.SwaggerDoc()["data"], false),
			kind.AgeColumn(),
		},
		Row: func(c *corev1.ConfigMap) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), kind.Age(c.CreationTimestamp)}
		},
	}
}

// Validate checks keys and size.
func Validate(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	data, binary := field.NewPath("data"), field.NewPath("binaryData")
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		errs = append(errs, kind.ValidateKey(data, key)...)
		size += len(c.Data[key])
		if _, both := c.BinaryData[key]; both {
			errs = append(errs, field.Invalid(data.Key(key), key, "duplicate of key present in binaryData"))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		errs = append(errs, kind.ValidateKey(binary, key)...)
		size += len(c.BinaryData[key])
	}
	if size > MaxSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "" /* not the value */, MaxSize))
	}
	return errs
}

func validateImmutable(c, old *corev1.ConfigMap) field.ErrorList {
	if old.Immutable == nil || !*old.Immutable {
		return nil
	}
	const message = "field is immutable when `immutable` is set"
	var errs field.ErrorList
	if c.Immutable == nil || !*c.Immutable {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), message))
	}
	if !equality.Semantic.DeepEqual(c.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), message))
	}
	if !equality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), message))
	}
	return errs
}
