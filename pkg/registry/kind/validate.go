package kind

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ValidateKey checks a key of a ConfigMap or Secret.
func ValidateKey(at *field.Path, key string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsConfigMapKey(key) {
		errs = append(errs, field.Invalid(at.Key(key), key, msg))
	}
	return errs
}

// ValidateQualifiedName checks a name such as example.com/name.
func ValidateQualifiedName(at *field.Path, name string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// ValidateFinalizers wants those that are not Kubernetes' own to name whom they
// belong to.
func ValidateFinalizers(finalizers []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range finalizers {
		switch f {
		case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
			continue
		}
		if !strings.Contains(f, "/") {
			errs = append(errs, field.Invalid(at.Index(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}
