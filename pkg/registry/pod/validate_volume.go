package pod

import (
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateVolumes returns the names that mounts may refer to.
func validateVolumes(volumes []corev1.Volume, at *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range volumes {
		v := &volumes[i]
		errs = append(errs, validateName(at.Index(i).Child("name"), v.Name, names)...)
		errs = append(errs, validateVolumeSource(&v.VolumeSource, at.Index(i))...)
	}
	return names, errs
}

func validateVolumeSource(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	errs := exactlyOne(reflect.ValueOf(s).Elem(), at)
	if s.EmptyDir != nil && s.EmptyDir.SizeLimit != nil {
		errs = append(errs, validateQuantity(at.Child("emptyDir", "sizeLimit"), *s.EmptyDir.SizeLimit)...)
	}
	if s.HostPath != nil {
		errs = append(errs, validateHostPath(s.HostPath, at.Child("hostPath"))...)
	}
	if v := s.Secret; v != nil {
		at := at.Child("secret")
		errs = append(errs, required(at.Child("secretName"), v.SecretName)...)
		errs = append(errs, validateMode(at.Child("defaultMode"), v.DefaultMode)...)
		errs = append(errs, validateItems(v.Items, at.Child("items"))...)
	}
	if v := s.ConfigMap; v != nil {
		at := at.Child("configMap")
		errs = append(errs, required(at.Child("name"), v.Name)...)
		errs = append(errs, validateMode(at.Child("defaultMode"), v.DefaultMode)...)
		errs = append(errs, validateItems(v.Items, at.Child("items"))...)
	}
	if v := s.DownwardAPI; v != nil {
		at := at.Child("downwardAPI")
		errs = append(errs, validateMode(at.Child("defaultMode"), v.DefaultMode)...)
		errs = append(errs, validateDownward(v.Items, at.Child("items"))...)
	}
	if s.Projected != nil {
		errs = append(errs, validateProjected(s.Projected, at.Child("projected"))...)
	}
	return errs
}

// exactlyOne wants one pointer of a union to be set.
func exactlyOne(union reflect.Value, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := 0
	for i := range union.NumField() {
		if union.Field(i).IsNil() {
			continue
		}
		if found++; found > 1 {
			name, _, _ := strings.Cut(union.Type().Field(i).Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
		}
	}
	if found == 0 {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

func validateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	errs := required(at.Child("path"), h.Path)
	errs = append(errs, validateNoBacksteps(at.Child("path"), h.Path)...)
	if h.Type != nil && *h.Type != corev1.HostPathUnset {
		errs = append(errs, oneOf(at.Child("type"), *h.Type,
			corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate,
			corev1.HostPathSocket)...)
	}
	return errs
}

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := validateMode(at.Child("defaultMode"), p.DefaultMode)
	volume := at
	paths := sets.New[string]()
	for i := range p.Sources {
		src, at := &p.Sources[i], at.Child("sources").Index(i)
		errs = append(errs, exactlyOne(reflect.ValueOf(src).Elem(), at)...)
		var files []string
		if s := src.Secret; s != nil {
			errs = append(errs, required(at.Child("secret", "name"), s.Name)...)
			errs = append(errs, validateItems(s.Items, at.Child("secret", "items"))...)
			files = append(files, itemPaths(s.Items)...)
		}
		if c := src.ConfigMap; c != nil {
			errs = append(errs, required(at.Child("configMap", "name"), c.Name)...)
			errs = append(errs, validateItems(c.Items, at.Child("configMap", "items"))...)
			files = append(files, itemPaths(c.Items)...)
		}
		if d := src.DownwardAPI; d != nil {
			errs = append(errs, validateDownward(d.Items, at.Child("downwardAPI", "items"))...)
			for _, item := range d.Items {
				files = append(files, item.Path)
			}
		}
		if t := src.ServiceAccountToken; t != nil {
			errs = append(errs, validateTokenSource(t, at.Child("serviceAccountToken"))...)
			// Kubernetes names this path of a token, and no longer one.
			errs = append(errs, validateFilePath(volume.Child("path"), t.Path)...)
			files = append(files, t.Path)
		}
		for _, f := range files {
			if f != "" && paths.Has(path.Clean(f)) {
				errs = append(errs, field.Invalid(at, f, "conflicting duplicate paths"))
			}
			paths.Insert(path.Clean(f))
		}
	}
	return errs
}

func validateTokenSource(t *corev1.ServiceAccountTokenProjection, at *field.Path) field.ErrorList {
	at = at.Child("expirationSeconds")
	switch {
	case t.ExpirationSeconds == nil:
		return field.ErrorList{field.Required(at, "")}
	case *t.ExpirationSeconds < 10*60:
		return field.ErrorList{field.Invalid(at, *t.ExpirationSeconds, "may not specify a duration less than 10 minutes")}
	case *t.ExpirationSeconds > 1<<32:
		return field.ErrorList{field.Invalid(at, *t.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds")}
	}
	return nil
}

func itemPaths(items []corev1.KeyToPath) []string {
	paths := make([]string, len(items))
	for i, item := range items {
		paths[i] = item.Path
	}
	return paths
}

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		errs = append(errs, required(at.Index(i).Child("key"), item.Key)...)
		errs = append(errs, validateFilePath(at.Index(i).Child("path"), item.Path)...)
		errs = append(errs, validateMode(at.Index(i).Child("mode"), item.Mode)...)
	}
	return errs
}

func required(at *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

func validateMode(at *field.Path, mode *int32) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(at, *mode,
			"must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

// validateFilePath checks the path of a file in a volume that carob writes.
// Names that begin with two dots are its own.
func validateFilePath(at *field.Path, p string) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := validateDescendingPath(at, p)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		errs = append(errs, field.Invalid(at, p, "must not start with '..'"))
	}
	return errs
}

// validateDescendingPath wants a relative path that never goes up.
func validateDescendingPath(at *field.Path, p string) field.ErrorList {
	if path.IsAbs(p) {
		return field.ErrorList{field.Invalid(at, p, "must be a relative path")}
	}
	return validateNoBacksteps(at, p)
}

func validateNoBacksteps(at *field.Path, p string) field.ErrorList {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
	}
	return nil
}
