package pod

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	maxSysctlName = 253
	sysctlPart    = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
	sysctlForm    = "(" + sysctlPart + "[\\./])*" + sysctlPart
)

var sysctlName = regexp.MustCompile("^" + sysctlForm + "$")

func validatePodSecurity(sc *corev1.PodSecurityContext, at *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := validateUserAndGroup(sc.RunAsUser, sc.RunAsGroup, at)
	for i, g := range sc.SupplementalGroups {
		errs = append(errs, invalid(at.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))...)
	}
	if g := sc.FSGroup; g != nil {
		errs = append(errs, invalid(at.Child("fsGroup"), *g, validation.IsValidGroupID(*g))...)
	}
	if v := sc.FSGroupChangePolicy; v != nil {
		errs = append(errs, oneOf(at.Child("fsGroupChangePolicy"), *v, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	if v := sc.SupplementalGroupsPolicy; v != nil {
		errs = append(errs, oneOf(at.Child("supplementalGroupsPolicy"), *v,
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	errs = append(errs, validateSysctls(sc.Sysctls, at.Child("sysctls"))...)
	return append(errs, validateSeccomp(sc.SeccompProfile, at.Child("seccompProfile"))...)
}

func validateUserAndGroup(user, group *int64, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if user != nil {
		errs = append(errs, invalid(at.Child("runAsUser"), *user, validation.IsValidUserID(*user))...)
	}
	if group != nil {
		errs = append(errs, invalid(at.Child("runAsGroup"), *group, validation.IsValidGroupID(*group))...)
	}
	return errs
}

func validateSysctls(sysctls []corev1.Sysctl, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, s := range sysctls {
		at := at.Index(i).Child("name")
		name := strings.ReplaceAll(s.Name, "/", ".")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > maxSysctlName || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name,
				fmt.Sprintf("must have at most %d characters and match regex %s", maxSysctlName, sysctlForm)))
		case names.Has(name):
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		names.Insert(name)
	}
	return errs
}

func validateSeccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	local := at.Child("localhostProfile")
	switch p.Type {
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return field.ErrorList{field.Required(local, "must be set when seccomp type is Localhost")}
		}
		return validateDescendingPath(local, *p.LocalhostProfile)
	case corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(local, *p.LocalhostProfile, "can only be set when seccomp type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(at.Child("type"), "type is required when seccompProfile is set")}
	}
	return oneOf(at.Child("type"), p.Type, corev1.SeccompProfileTypeLocalhost,
		corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
}

func validateSecurity(sc *corev1.SecurityContext, at *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := validateUserAndGroup(sc.RunAsUser, sc.RunAsGroup, at)
	errs = append(errs, validateSeccomp(sc.SeccompProfile, at.Child("seccompProfile"))...)
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		return errs
	}
	if sc.Privileged != nil && *sc.Privileged {
		errs = append(errs, field.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if sc.Capabilities == nil {
		return errs
	}
	for _, c := range sc.Capabilities.Add {
		if c == "CAP_SYS_ADMIN" {
			errs = append(errs, field.Invalid(at, sc,
				"cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return errs
}
