package pod

import (
	"path"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/persistentvolumeclaim"
)

// validateVolumes returns the names that mounts may refer to: those of volumes
// with nothing wrong.
func validateVolumes(volumes []corev1.Volume, at *field.Path) (sets.Set[string], field.ErrorList) {
	var errs field.ErrorList
	names := sets.New[string]()
	for i := range volumes {
		v, at := &volumes[i], at.Index(i)
		bad := validateVolumeSource(&v.VolumeSource, at)
		bad = append(bad, validateLabelName(v.Name, at.Child("name"))...)
		if names.Has(v.Name) {
			bad = append(bad, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(bad) == 0 {
			names.Insert(v.Name)
		}
		errs = append(errs, bad...)
	}
	return names, errs
}

func validateVolumeSource(s *corev1.VolumeSource, at *field.Path) field.ErrorList {
	first, errs := exactlyOne(s, at)
	if s.EmptyDir != nil && s.EmptyDir.SizeLimit != nil && s.EmptyDir.SizeLimit.Sign() < 0 {
		errs = append(field.ErrorList{field.Forbidden(at.Child("emptyDir", "sizeLimit"),
			"SizeLimit field must be a valid resource quantity")}, errs...)
	}
	s = first
	if s.HostPath != nil {
		errs = append(errs, ValidateHostPath(s.HostPath, at.Child("hostPath"))...)
	}
	if v := s.Image; v != nil {
		at := at.Child("image")
		errs = append(errs, required(at.Child("reference"), v.Reference)...)
		errs = append(errs, oneOf(at.Child("pullPolicy"), v.PullPolicy,
			corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	}
	if v := s.PersistentVolumeClaim; v != nil {
		errs = append(errs, required(at.Child("persistentVolumeClaim", "claimName"), v.ClaimName)...)
	}
	if v := s.Ephemeral; v != nil {
		errs = append(errs, validateClaimTemplate(v.VolumeClaimTemplate, at.Child("ephemeral", "volumeClaimTemplate"))...)
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
		errs = append(errs, validateDownward(v.Items, at)...)
	}
	if s.Projected != nil {
		errs = append(errs, validateProjected(s.Projected, at.Child("projected"))...)
	}
	return errs
}

func validateClaimTemplate(t *corev1.PersistentVolumeClaimTemplate, at *field.Path) field.ErrorList {
	if t == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := apivalidation.ValidateAnnotations(t.Annotations, at.Child("metadata", "annotations"))
	errs = append(errs, metavalidation.ValidateLabels(t.Labels, at.Child("metadata", "labels"))...)
	return append(errs, persistentvolumeclaim.ValidateSpec(&t.Spec, at.Child("spec"))...)
}

// validateOwnClaims refuses to name a claim that is going to be made for the
// pod.
func validateOwnClaims(p *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	own := sets.New[string]()
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; v.Ephemeral != nil && p.Name != "" {
			own.Insert(p.Name + "-" + v.Name)
		}
	}
	for i := range p.Spec.Volumes {
		if c := p.Spec.Volumes[i].PersistentVolumeClaim; c != nil && own.Has(c.ClaimName) {
			errs = append(errs, field.Invalid(at.Index(i).Child("persistentVolumeClaim", "claimName"), c.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
	return errs
}

// exactlyOne wants one source, and returns it alone: what is wrong with a second
// one is that it is there. An empty directory counts as the first in any case.
func exactlyOne(s *corev1.VolumeSource, at *field.Path) (*corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	first := &corev1.VolumeSource{EmptyDir: s.EmptyDir}
	found := s.EmptyDir != nil
	union := reflect.ValueOf(s).Elem()
	for i := range union.NumField() {
		f := union.Type().Field(i)
		if union.Field(i).IsNil() || f.Name == "EmptyDir" {
			continue
		}
		if found {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			errs = append(errs, field.Forbidden(at.Child(name), "may not specify more than 1 volume type"))
			continue
		}
		found = true
		reflect.ValueOf(first).Elem().Field(i).Set(union.Field(i))
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return first, errs
}

// ValidateHostPath checks a path of the machine.
func ValidateHostPath(h *corev1.HostPathVolumeSource, at *field.Path) field.ErrorList {
	errs := required(at.Child("path"), h.Path)
	errs = append(errs, ValidateNoBacksteps(at.Child("path"), h.Path)...)
	if h.Type != nil && *h.Type != corev1.HostPathUnset {
		errs = append(errs, oneOf(at.Child("type"), *h.Type,
			corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
			corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate,
			corev1.HostPathSocket)...)
	}
	return errs
}

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	errs := validateMode(at.Child("defaultMode"), p.DefaultMode)
	paths := sets.New[string]()
	// The conflict of two files is told with what made it: the object, or
	// where there is none the file.
	unique := func(file, by string) {
		if file != "" && paths.Has(file) {
			errs = append(errs, field.Invalid(at, by, "conflicting duplicate paths"))
		}
		paths.Insert(file)
	}
	items := func(name string, items []corev1.KeyToPath, source *field.Path) {
		errs = append(errs, required(source.Child("name"), name)...)
		for i := range items {
			errs = append(errs, validateItem(&items[i], source.Child("items").Index(i))...)
			unique(items[i].Path, name)
		}
	}
	for i := range p.Sources {
		src, source := &p.Sources[i], at.Child("sources").Index(i)
		if s := src.Secret; s != nil {
			items(s.Name, s.Items, source.Child("secret"))
		}
		if c := src.ConfigMap; c != nil {
			items(c.Name, c.Items, source.Child("configMap"))
		}
		if d := src.DownwardAPI; d != nil {
			for i := range d.Items {
				errs = append(errs, validateDownward(d.Items[i:i+1], source.Child("downwardAPI"))...)
				unique(d.Items[i].Path, d.Items[i].Path)
			}
		}
		if t := src.ServiceAccountToken; t != nil {
			errs = append(errs, validateTokenSource(t, source.Child("serviceAccountToken"))...)
			// Kubernetes names this path of a token, and no longer one.
			errs = append(errs, validateTokenPath(at.Child("path"), t.Path)...)
		}
		if b := src.ClusterTrustBundle; b != nil {
			errs = append(errs, validateTrustBundle(b, source.Child("clusterTrustBundle"))...)
			if paths.Has(b.Path) {
				errs = append(errs, field.Invalid(at, b.Path, "conflicting duplicate paths"))
			}
			paths.Insert(b.Path)
		}
		if countSet(reflect.ValueOf(src).Elem()) > 1 {
			errs = append(errs, field.Forbidden(source, "may not specify more than 1 volume type per source"))
		}
	}
	return errs
}

func validateTokenPath(at *field.Path, p string) field.ErrorList {
	if p == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return validateFilePath(at, p)
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

func validateItems(items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		errs = append(errs, validateItem(&items[i], at.Index(i))...)
	}
	return errs
}

func validateItem(item *corev1.KeyToPath, at *field.Path) field.ErrorList {
	errs := required(at.Child("key"), item.Key)
	errs = append(errs, required(at.Child("path"), item.Path)...)
	errs = append(errs, validateFilePath(at.Child("path"), item.Path)...)
	return append(errs, validateMode(at.Child("mode"), item.Mode)...)
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
	errs := validateDescendingPath(at, p)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		errs = append(errs, field.Invalid(at, p, "must not start with '..'"))
	}
	return errs
}

// validateDescendingPath wants a relative path that never goes up.
func validateDescendingPath(at *field.Path, p string) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at, p, "must be a relative path"))
	}
	return append(errs, ValidateNoBacksteps(at, p)...)
}

// ValidateNoBacksteps wants a path without "..".
func ValidateNoBacksteps(at *field.Path, p string) field.ErrorList {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return field.ErrorList{field.Invalid(at, p, "must not contain '..'")}
	}
	return nil
}
