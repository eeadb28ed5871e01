// Package storageclass declares the StorageClass kind: its defaults, what a
// valid one is, which one is the default and how it is printed. It must not know
// how volumes are made.
package storageclass

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/claim"
	carobfields "github.com/carob-project/carob/pkg/fields"
	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
)

const (
	maxParameters    = 512
	maxParameterSize = 256 << 10
)

// Kind declares StorageClass.
func Kind() kind.Kind[*storagev1.StorageClass] {
	docs := storagev1.StorageClass{}.SwaggerDoc()
	return kind.Kind[*storagev1.StorageClass]{
		GVK:                 storagev1.SchemeGroupVersion.WithKind("StorageClass"),
		Resource:            "storageclasses",
		Singular:            "storageclass",
		ShortNames:          []string{"sc"},
		UnconditionalUpdate: true,
		New:                 func() *storagev1.StorageClass { return &storagev1.StorageClass{} },
		NewList:             func() runtime.Object { return &storagev1.StorageClassList{} },
		Main: kind.Rules[*storagev1.StorageClass]{
			Validate: func(_ context.Context, c *storagev1.StorageClass) field.ErrorList { return Validate(c) },
			ValidateUpdate: func(_ context.Context, c, old *storagev1.StorageClass) field.ErrorList {
				return append(Validate(c), validateUpdate(c, old)...)
			},
			Warnings: warnings,
		},
		Columns: []metav1.TableColumnDefinition{
			kind.NameColumn(),
			kind.Column("Provisioner", "string", docs["provisioner"], false),
			kind.Column("ReclaimPolicy", "string", docs["reclaimPolicy"], false),
			kind.Column("VolumeBindingMode", "string", docs["volumeBindingMode"], false),
			kind.Column("AllowVolumeExpansion", "string", docs["allowVolumeExpansion"], false),
			kind.AgeColumn(),
		},
		Row: func(c *storagev1.StorageClass) []any {
			name := c.Name
			if claim.IsDefault(c) {
				name += " (default)"
			}
			return []any{
				name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)),
				ptr.Deref(c.AllowVolumeExpansion, false), kind.Age(c.CreationTimestamp),
			}
		},
	}
}

// System returns the class that carob makes at its start.
func System() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:           metav1.ObjectMeta{Name: claim.Class, Annotations: map[string]string{claim.DefaultAnnotation: "true"}},
		Provisioner:          claim.Provisioner,
		ReclaimPolicy:        ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode:    ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		AllowVolumeExpansion: ptr.To(true),
	}
}

// AddToScheme registers defaults and selectable fields.
func AddToScheme(s *runtime.Scheme) error { return Kind().AddDefaultedToScheme(s, SetDefaults) }

// SetDefaults fills in what the API documents as defaults.
func SetDefaults(c *storagev1.StorageClass) {
	if c.ReclaimPolicy == nil {
		c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	}
	if c.VolumeBindingMode == nil {
		c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
	}
}

// Validate checks a class.
func Validate(c *storagev1.StorageClass) field.ErrorList {
	errs := validateProvisioner(c.Provisioner, field.NewPath("provisioner"))
	errs = append(errs, validateParameters(c.Parameters, field.NewPath("parameters"))...)
	if p := ptr.Deref(c.ReclaimPolicy, ""); p != "" {
		known := []corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain}
		if !slices.Contains(known, p) {
			errs = append(errs, field.NotSupported(field.NewPath("reclaimPolicy"), p, known))
		}
	}
	errs = append(errs, validateMode(c.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	errs = append(errs, validateTopologies(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	if c.Provisioner != claim.Provisioner {
		return errs
	}
	if len(c.MountOptions) > 0 {
		errs = append(errs, field.Forbidden(field.NewPath("mountOptions"), carobfields.NotYet+"a directory is not mounted with options; leave it out"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Parameters)) {
		errs = append(errs, field.Forbidden(field.NewPath("parameters").Key(name), "provisioner "+claim.Provisioner+" has no parameters"))
	}
	return errs
}

func validateMode(m *storagev1.VolumeBindingMode, at *field.Path) field.ErrorList {
	known := []storagev1.VolumeBindingMode{storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer}
	switch {
	case m == nil:
		return field.ErrorList{field.Required(at, "")}
	case !slices.Contains(known, *m):
		return field.ErrorList{field.NotSupported(at, *m, known)}
	}
	return nil
}

func validateProvisioner(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(strings.ToLower(name)) {
		errs = append(errs, field.Invalid(at, strings.ToLower(name), msg))
	}
	return errs
}

func validateParameters(p map[string]string, at *field.Path) field.ErrorList {
	if len(p) > maxParameters {
		return field.ErrorList{field.TooLong(at, "", maxParameters)}
	}
	var errs field.ErrorList
	size := 0
	for name, value := range p {
		if name == "" {
			errs = append(errs, field.Invalid(at, name, "field can not be empty."))
		}
		size += len(name) + len(value)
	}
	if size > maxParameterSize {
		errs = append(errs, field.TooLong(at, "", maxParameterSize))
	}
	return errs
}

func validateTopologies(terms []corev1.TopologySelectorTerm, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, term := range terms {
		at := at.Index(i).Child("matchLabelExpressions")
		sorted := map[string][]string{}
		for j, e := range term.MatchLabelExpressions {
			at := at.Index(j)
			bad, values := validateTopology(e, at)
			errs = append(errs, bad...)
			if _, twice := sorted[e.Key]; twice {
				errs = append(errs, field.Duplicate(at.Child("key"), e.Key))
			}
			sorted[e.Key] = values
		}
		key := fmt.Sprintf("%q", sorted)
		if seen[key] {
			errs = append(errs, field.Duplicate(at, ""))
		}
		seen[key] = true
	}
	return errs
}

func validateTopology(e corev1.TopologySelectorLabelRequirement, at *field.Path) (field.ErrorList, []string) {
	var errs field.ErrorList
	values := map[string]bool{}
	if len(e.Values) == 0 {
		errs = append(errs, field.Required(at.Child("values"), ""))
	}
	for k, v := range e.Values {
		if values[v] {
			errs = append(errs, field.Duplicate(at.Child("values").Index(k), v))
		}
		values[v] = true
	}
	for _, msg := range validation.IsQualifiedName(e.Key) {
		errs = append(errs, field.Invalid(at.Child("key"), e.Key, msg))
	}
	return errs, slices.Sorted(maps.Keys(values))
}

func validateUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"parameters", c.Parameters, old.Parameters}, {"provisioner", c.Provisioner, old.Provisioner},
		{"reclaimPolicy", c.ReclaimPolicy, old.ReclaimPolicy}, {"volumeBindingMode", c.VolumeBindingMode, old.VolumeBindingMode},
	} {
		if !apiequality.Semantic.DeepEqual(f.now, f.was) {
			errs = append(errs, field.Invalid(field.NewPath(f.name), nil, apivalidation.FieldImmutableErrorMsg))
		}
	}
	return errs
}

func warnings(c *storagev1.StorageClass) []string {
	var out []string
	for i, term := range c.AllowedTopologies {
		for j, e := range term.MatchLabelExpressions {
			if now, ok := pod.OldNodeLabel(e.Key); ok {
				out = append(out, fmt.Sprintf("%s: %s", field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), now))
			}
		}
	}
	return out
}
