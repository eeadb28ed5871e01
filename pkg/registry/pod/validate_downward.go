package pod

import (
	"fmt"
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

// validateDownward checks files of a downward API volume. In Kubernetes' words
// they are all called by the path of their volume.
func validateDownward(items []corev1.DownwardAPIVolumeFile, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		item := &items[i]
		errs = append(errs, required(at.Child("path"), item.Path)...)
		errs = append(errs, validateFilePath(at.Child("path"), item.Path)...)
		switch {
		case item.FieldRef != nil:
			errs = append(errs, validateFieldRef(item.FieldRef, downwardFields(), at.Child("fieldRef"))...)
			if item.ResourceFieldRef != nil {
				errs = append(errs, field.Invalid(at, "resource",
					"fieldRef and resourceFieldRef can not be specified simultaneously"))
			}
		case item.ResourceFieldRef != nil:
			errs = append(errs, validateResourceRef(item.ResourceFieldRef, true, at.Child("resourceFieldRef"))...)
		default:
			errs = append(errs, field.Required(at, "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, validateMode(at.Child("mode"), item.Mode)...)
	}
	return errs
}

// podFields are the fields of a pod that can be referred to at all. Which of
// them a variable or a file can show is another matter.
func podFields() []string {
	return append(envFields(), "metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName",
		"status.phase")
}

// validateFieldRef checks a reference to one of the known fields, or to a single
// label or annotation.
func validateFieldRef(ref *corev1.ObjectFieldSelector, known []string, at *field.Path) field.ErrorList {
	path := at.Child("fieldPath")
	unknown := func(why string) field.ErrorList {
		return field.ErrorList{field.Invalid(path, ref.FieldPath, "error converting fieldPath: "+why)}
	}
	switch {
	case ref.APIVersion == "":
		return field.ErrorList{field.Required(at.Child("apiVersion"), "")}
	case ref.FieldPath == "":
		return field.ErrorList{field.Required(path, "")}
	case ref.APIVersion != "v1":
		return unknown("unsupported pod version: " + ref.APIVersion)
	}
	name, key, ok := splitSubscript(ref.FieldPath)
	switch {
	case ok && name == "metadata.annotations":
		// Annotation keys may be written in any case.
		key = strings.ToLower(key)
		return invalid(at, key, validation.IsQualifiedName(key))
	case ok && name == "metadata.labels":
		return invalid(at, key, validation.IsQualifiedName(key))
	case ok:
		return unknown("field label does not support subscript: " + ref.FieldPath)
	case !slices.Contains(podFields(), ref.FieldPath):
		return unknown("field label not supported: " + ref.FieldPath)
	}
	return oneOf(path, ref.FieldPath, known...)
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

// validateResourceRef checks a reference to an amount of a container, which a
// volume has to name, and a variable has not.
func validateResourceRef(ref *corev1.ResourceFieldSelector, volume bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case volume && ref.ContainerName == "":
		errs = append(errs, field.Required(at.Child("containerName"), ""))
	case ref.Resource == "":
		errs = append(errs, field.Required(at.Child("resource"), ""))
	case !slices.Contains(amounts(), ref.Resource) && !hugePages(ref.Resource):
		errs = append(errs, field.NotSupported(at.Child("resource"), ref.Resource, amounts()))
	}
	return append(errs, validateDivisor(ref, at.Child("divisor"))...)
}

// amounts are the resources that can be referred to, beside huge pages.
func amounts() []string {
	return []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
}

func hugePages(resource string) bool {
	return strings.HasPrefix(resource, "limits.hugepages-") || strings.HasPrefix(resource, "requests.hugepages-")
}

func validateDivisor(ref *corev1.ResourceFieldSelector, at *field.Path) field.ErrorList {
	units := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
	detail := "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported " +
		"with the %s resource"
	_, resource, _ := strings.Cut(ref.Resource, ".")
	switch {
	case ref.Divisor.IsZero() || (!slices.Contains(amounts(), ref.Resource) && !hugePages(ref.Resource)):
		return nil
	case resource == string(corev1.ResourceCPU):
		units, detail = []string{"1m", "1"}, "only divisor's values 1m and 1 are supported with the %s resource"
	case resource == string(corev1.ResourceEphemeralStorage):
		resource = "local ephemeral storage"
	case hugePages(ref.Resource):
		resource = "hugepages"
	}
	if slices.Contains(units, ref.Divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, ref.Resource, fmt.Sprintf(detail, resource))}
}
