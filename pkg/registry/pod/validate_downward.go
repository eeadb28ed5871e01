package pod

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// downwardFields are what a downward API volume can show, in full.
func downwardFields() []string {
	return []string{
		"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
	}
}

func validateDownward(items []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		item, at := &items[i], at.Index(i)
		errs = append(errs, validateFilePath(at.Child("path"), item.Path)...)
		errs = append(errs, validateMode(at.Child("mode"), item.Mode)...)
		switch {
		case item.FieldRef != nil && item.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(at, "resource",
				"fieldRef and resourceFieldRef can not be specified simultaneously"))
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, downwardFields(), at.Child("fieldRef"))...)
		case item.ResourceFieldRef != nil:
			errs = append(errs, validateResourceRef(item.ResourceFieldRef, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
	}
	return errs
}

// validateFieldRef checks a reference to one of the known fields, or to a single
// label or annotation.
func validateFieldRef(ref *corev1.ObjectFieldSelector, known []string, at *field.Path) field.ErrorList {
	errs := oneOf(at.Child("apiVersion"), ref.APIVersion, "v1")
	at = at.Child("fieldPath")
	if ref.FieldPath == "" {
		return append(errs, field.Required(at, ""))
	}
	name, key, ok := splitSubscript(ref.FieldPath)
	if !ok {
		return append(errs, oneOf(at, ref.FieldPath, known...)...)
	}
	switch name {
	case "metadata.annotations":
		// Annotation keys may be written in any case.
		errs = append(errs, invalid(at, key, validation.IsQualifiedName(strings.ToLower(key)))...)
	case "metadata.labels":
		errs = append(errs, invalid(at, key, validation.IsQualifiedName(key))...)
	default:
		errs = append(errs, field.Invalid(at, name, "does not support subscript"))
	}
	return errs
}

// splitSubscript takes name['key'] apart.
func splitSubscript(fieldPath string) (name, key string, ok bool) {
	inner, closed := strings.CutSuffix(fieldPath, "']")
	name, key, opened := strings.Cut(inner, "['")
	if !closed || !opened || name == "" {
		return fieldPath, "", false
	}
	return name, key, true
}

func validateResourceRef(ref *corev1.ResourceFieldSelector, at *field.Path) field.ErrorList {
	return append(required(at.Child("containerName"), ref.ContainerName), validateResourceName(ref, at)...)
}

// validateResourceName checks all but the container, which need not be named
// where it is clear.
func validateResourceName(ref *corev1.ResourceFieldSelector, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	kind, resource, _ := strings.Cut(ref.Resource, ".")
	switch {
	case ref.Resource == "":
		return append(errs, field.Required(at.Child("resource"), ""))
	case (kind != "limits" && kind != "requests") || !knownResource(resource) || strings.Contains(resource, "/"):
		return append(errs, field.NotSupported(at.Child("resource"), ref.Resource,
			[]string{"limits.cpu", "limits.memory", "requests.cpu", "requests.memory"}))
	}
	units := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	detail := "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported " +
		"with the memory resource"
	if resource == string(corev1.ResourceCPU) {
		units, detail = []string{"1m", "1"}, "only divisor's values 1m and 1 are supported with the cpu resource"
	}
	if !ref.Divisor.IsZero() && !slices.Contains(units, ref.Divisor.String()) {
		errs = append(errs, field.Invalid(at.Child("divisor"), ref.Divisor.String(), detail))
	}
	return errs
}
