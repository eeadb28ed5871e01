package pod

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const oneSource = "may not have more than one field specified at a time"

// envFields are the fields of a pod that a variable can show, beside single
// labels and annotations.
func envFields() []string {
	return []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
}

func validateEnv(env []corev1.EnvVar, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range env {
		e, at := &env[i], path.Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalid(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateValueFrom(e, at.Child("valueFrom"))...)
		}
	}
	return errs
}

func validateValueFrom(e *corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f := e.ValueFrom.FieldRef; f != nil {
		errs = append(errs, validateFieldRef(f, envFields(), at.Child("fieldRef"))...)
	}
	if r := e.ValueFrom.ResourceFieldRef; r != nil {
		errs = append(errs, validateResourceRef(r, false, at.Child("resourceFieldRef"))...)
	}
	if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
		errs = append(errs, validateKeyRef(r.Name, r.Key, at.Child("configMapKeyRef"))...)
	}
	if r := e.ValueFrom.SecretKeyRef; r != nil {
		errs = append(errs, validateKeyRef(r.Name, r.Key, at.Child("secretKeyRef"))...)
	}
	if r := e.ValueFrom.FileKeyRef; r != nil {
		errs = append(errs, validateFileRef(r, at.Child("fileKeyRef"))...)
	}
	switch n := countSet(reflect.ValueOf(e.ValueFrom).Elem()); {
	case n == 0:
		errs = append(errs, field.Invalid(at, "",
			"must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case n > 1:
		errs = append(errs, field.Invalid(at, "", oneSource))
	}
	return errs
}

func validateFileRef(r *corev1.FileKeySelector, at *field.Path) field.ErrorList {
	errs := required(at.Child("key"), r.Key)
	if r.Key != "" {
		errs = invalid(at.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))
	}
	errs = append(errs, validateLabelName(r.VolumeName, at.Child("volumeName"))...)
	if r.Path == "" {
		return append(errs, field.Required(at.Child("path"), ""))
	}
	return append(errs, ValidateNoBacksteps(at.Child("path"), r.Path)...)
}

// validateEnvFiles wants the files that variables come from to be in an
// emptyDir.
func validateEnvFiles(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	emptyDir := map[string]bool{}
	for i := range s.Volumes {
		emptyDir[s.Volumes[i].Name] = s.Volumes[i].EmptyDir != nil
	}
	check := func(env []corev1.EnvVar, at *field.Path) {
		for i := range env {
			if env[i].ValueFrom == nil || env[i].ValueFrom.FileKeyRef == nil {
				continue
			}
			name, at := env[i].ValueFrom.FileKeyRef.VolumeName, at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			switch fits, known := emptyDir[name]; {
			case !known:
				errs = append(errs, field.NotFound(at, name))
			case !fits:
				errs = append(errs, field.Invalid(at, name, "referenced volume must be of type emptyDir"))
			}
		}
	}
	for i := range s.InitContainers {
		check(s.InitContainers[i].Env, path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		check(s.Containers[i].Env, path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		check(s.EphemeralContainers[i].Env, path.Child("ephemeralContainers").Index(i))
	}
	return errs
}

// countSet counts the pointers of a union that are set.
func countSet(union reflect.Value) int {
	n := 0
	for i := range union.NumField() {
		if f := union.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			n++
		}
	}
	return n
}

func validateKeyRef(name, key string, at *field.Path) field.ErrorList {
	errs := invalid(at.Child("name"), name, apivalidation.NameIsDNSSubdomain(name, false))
	if key == "" {
		return append(errs, field.Required(at.Child("key"), ""))
	}
	return append(errs, invalid(at.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateEnvFrom(from []corev1.EnvFromSource, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range from {
		f, at := &from[i], path.Index(i)
		if f.Prefix != "" {
			errs = append(errs, invalid(at.Child("prefix"), f.Prefix, validation.IsRelaxedEnvVarName(f.Prefix))...)
		}
		if r := f.ConfigMapRef; r != nil {
			errs = append(errs, validateObjectName(at.Child("configMapRef", "name"), r.Name)...)
		}
		if r := f.SecretRef; r != nil {
			errs = append(errs, validateObjectName(at.Child("secretRef", "name"), r.Name)...)
		}
		switch n := countSet(reflect.ValueOf(f).Elem()); {
		case n == 0:
			errs = append(errs, field.Invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
		case n > 1:
			errs = append(errs, field.Invalid(path, "", oneSource))
		}
	}
	return errs
}

// validateObjectName checks the required name of a ConfigMap or a Secret.
func validateObjectName(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return invalid(at, name, apivalidation.NameIsDNSSubdomain(name, false))
}
