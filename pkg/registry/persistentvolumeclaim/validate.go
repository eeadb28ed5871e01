package persistentvolumeclaim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	carobfields "github.com/carob-project/carob/pkg/fields"
)

// accessModes and volumeModes are in the order in which errors list them.
func accessModes() []corev1.PersistentVolumeAccessMode {
	return []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod}
}

func volumeModes() []corev1.PersistentVolumeMode {
	return []corev1.PersistentVolumeMode{corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem}
}

// ValidateSpec checks the spec of a claim or of a template of claims.
func ValidateSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(s.AccessModes) == 0 {
		errs = append(errs, field.Required(at.Child("accessModes"), "at least 1 access mode is required"))
	}
	if s.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabelSelector(s.Selector, metavalidation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	}
	errs = append(errs, ValidateAccessModes(s.AccessModes, at.Child("accessModes"))...)
	errs = append(errs, validateRequest(s.Resources.Requests, at.Child("resources"))...)
	errs = append(errs, ValidateClassName(ptr.Deref(s.StorageClassName, ""), at.Child("storageClassName"))...)
	errs = append(errs, ValidateVolumeMode(s.VolumeMode, at.Child("volumeMode"))...)
	errs = append(errs, validateSources(s, at)...)
	return append(errs, ValidateClassName(ptr.Deref(s.VolumeAttributesClassName, ""), at.Child("volumeAttributesClassName"))...)
}

// RefuseSpec names what Kubernetes can do and carob cannot.
func RefuseSpec(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	errs := RefuseVolumeMode(s.VolumeMode, at.Child("volumeMode"))
	if s.DataSource != nil || s.DataSourceRef != nil {
		name := "dataSourceRef"
		if s.DataSource != nil {
			name = "dataSource"
		}
		errs = append(errs, field.Forbidden(at.Child(name), carobfields.NotYet+"volumes begin empty; fill it from a pod"))
	}
	if name := ptr.Deref(s.VolumeAttributesClassName, ""); name != "" && len(apivalidation.NameIsDNSSubdomain(name, false)) == 0 {
		errs = append(errs, field.Forbidden(at.Child("volumeAttributesClassName"), carobfields.NotYet+"there are no such classes; leave it out"))
	}
	return errs
}

// ValidateAccessModes checks the modes of a claim or a volume.
func ValidateAccessModes(modes []corev1.PersistentVolumeAccessMode, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	var pod, other bool
	for _, m := range modes {
		switch {
		case !slices.Contains(accessModes(), m):
			errs = append(errs, field.NotSupported(at, m, accessModes()))
		case m == corev1.ReadWriteOncePod:
			pod = true
		default:
			other = true
		}
	}
	if pod && other {
		errs = append(errs, field.Forbidden(at, "may not use ReadWriteOncePod with other access modes"))
	}
	return errs
}

// ValidateVolumeMode checks that of a claim or a volume.
func ValidateVolumeMode(m *corev1.PersistentVolumeMode, at *field.Path) field.ErrorList {
	if m != nil && !slices.Contains(volumeModes(), *m) {
		return field.ErrorList{field.NotSupported(at, *m, volumeModes())}
	}
	return nil
}

// RefuseVolumeMode refuses block devices.
func RefuseVolumeMode(m *corev1.PersistentVolumeMode, at *field.Path) field.ErrorList {
	if m != nil && *m == corev1.PersistentVolumeBlock {
		return field.ErrorList{field.Forbidden(at, carobfields.NotYet+"block devices are not handed to containers; use Filesystem")}
	}
	return nil
}

// ValidateClassName checks the name of a class, where there is one.
func ValidateClassName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return nil
	}
	var errs field.ErrorList
	for _, msg := range apivalidation.NameIsDNSSubdomain(name, false) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

func validateRequest(list corev1.ResourceList, at *field.Path) field.ErrorList {
	at = at.Key(string(corev1.ResourceStorage))
	q, ok := list[corev1.ResourceStorage]
	switch {
	case !ok:
		return field.ErrorList{field.Required(at, "")}
	case q.Sign() <= 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must be greater than zero")}
	}
	return nil
}

func notNegative(q resource.Quantity, at *field.Path) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(at, q.Value(), "must be a valid resource quantity")}
	}
	return nil
}

func validateSources(s *corev1.PersistentVolumeClaimSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if d := s.DataSource; d != nil {
		errs = append(errs, validateSource(d.Name, d.Kind, d.APIGroup, at.Child("dataSource"))...)
	}
	r := s.DataSourceRef
	if r == nil {
		return errs
	}
	errs = append(errs, validateSource(r.Name, r.Kind, r.APIGroup, at.Child("dataSourceRef"))...)
	if s.DataSource != nil && (ptr.Deref(s.DataSource.APIGroup, "") != ptr.Deref(r.APIGroup, "") || s.DataSource.Kind != r.Kind || s.DataSource.Name != r.Name) {
		errs = append(errs, field.Invalid(at, at.Child("dataSource"), "must match dataSourceRef"))
	}
	return errs
}

func validateSource(name, of string, group *string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if of == "" {
		errs = append(errs, field.Required(at.Child("kind"), ""))
	}
	if ptr.Deref(group, "") == "" {
		if of != "PersistentVolumeClaim" {
			errs = append(errs, field.Invalid(at, of, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"))
		}
		return errs
	}
	for _, msg := range validation.IsDNS1123Subdomain(*group) {
		errs = append(errs, field.Invalid(at.Child("apiGroup"), *group, msg))
	}
	return errs
}

func validateStatus(c *corev1.PersistentVolumeClaim) field.ErrorList {
	s, at := &c.Status, field.NewPath("status")
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(s.Capacity)) {
		errs = append(errs, notNegative(s.Capacity[name], at.Child("capacity").Key(string(name)))...)
	}
	known := []corev1.ClaimResourceStatus{
		corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizePending, corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible,
	}
	slices.Sort(known)
	statuses := at.Child("allocatedResourceStatuses")
	for _, name := range slices.Sorted(maps.Keys(s.AllocatedResourceStatuses)) {
		errs = append(errs, validateResourceName(string(name), statuses)...)
		if !slices.Contains(known, s.AllocatedResourceStatuses[name]) {
			errs = append(errs, field.NotSupported(statuses, name, known))
		}
	}
	allocated := at.Child("allocatedResources")
	for _, name := range slices.Sorted(maps.Keys(s.AllocatedResources)) {
		if bad := validateResourceName(string(name), allocated); len(bad) > 0 {
			errs = append(errs, bad...)
			continue
		}
		errs = append(errs, notNegative(s.AllocatedResources[name], allocated.Key(string(name)))...)
	}
	return errs
}

func validateResourceName(name string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsQualifiedName(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	native := !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
	if len(errs) == 0 && native && name != string(corev1.ResourceStorage) {
		errs = append(errs, field.NotSupported(at, name, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	return errs
}

// SpecWarnings says what of a spec is legal and odd.
func SpecWarnings(s *corev1.PersistentVolumeClaimSpec, at *field.Path) []string {
	var out []string
	for _, l := range []struct {
		name string
		list corev1.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		if q, ok := l.list[corev1.ResourceStorage]; ok && q.MilliValue()%1000 != 0 {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				at.Child("resources", l.name).Key(string(corev1.ResourceStorage)), q.String()))
		}
	}
	return out
}

func same(a, b any) bool { return apiequality.Semantic.DeepEqual(a, b) }
