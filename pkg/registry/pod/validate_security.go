package pod

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	engine "github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/registry/kind"
)

const (
	maxSysctlName = 253
	sysctlPart    = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
	sysctlForm    = "(" + sysctlPart + "[\\./])*" + sysctlPart
)

var sysctlName = regexp.MustCompile("^" + sysctlForm + "$")

func validatePodSecurity(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	sc := s.SecurityContext
	if sc == nil {
		return nil
	}
	var errs field.ErrorList
	if g := sc.FSGroup; g != nil {
		errs = append(errs, invalid(at.Child("fsGroup"), *g, validation.IsValidGroupID(*g))...)
	}
	errs = append(errs, validateUserAndGroup(sc.RunAsUser, sc.RunAsGroup, at)...)
	for i, g := range sc.SupplementalGroups {
		errs = append(errs, invalid(at.Child("supplementalGroups").Index(i), g, validation.IsValidGroupID(g))...)
	}
	errs = append(errs, validateSysctls(s, at.Child("sysctls"))...)
	if v := sc.FSGroupChangePolicy; v != nil {
		errs = append(errs, notAmong(at.Child("fsGroupChangePolicy"), *v, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, validateSeccomp(sc.SeccompProfile, at.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(sc.AppArmorProfile, at.Child("appArmorProfile"))...)
	if v := sc.SupplementalGroupsPolicy; v != nil {
		errs = append(errs, notAmong(at.Child("supplementalGroupsPolicy"), *v,
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if v := sc.SELinuxChangePolicy; v != nil {
		errs = append(errs, notAmong(at.Child("seLinuxChangePolicy"), *v,
			corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	return errs
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

func validateSysctls(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, sysctl := range s.SecurityContext.Sysctls {
		at, name := at.Index(i).Child("name"), sysctl.Name
		switch {
		case name == "":
			errs = append(errs, field.Required(at, ""))
		case len(name) > maxSysctlName || !sysctlName.MatchString(name):
			errs = append(errs, field.Invalid(at, name,
				fmt.Sprintf("must have at most %d characters and match regex %s", maxSysctlName, sysctlName)))
		case names.Has(name):
			errs = append(errs, field.Duplicate(at, name))
		}
		switch group := sysctlGroup(engine.SysctlName(name)); {
		case s.HostNetwork && group == "net":
			errs = append(errs, field.Invalid(at, name, "may not be specified when 'hostNetwork' is true"))
		case s.HostIPC && group == "ipc":
			errs = append(errs, field.Invalid(at, name, "may not be specified when 'hostIPC' is true"))
		}
		names.Insert(name)
	}
	return errs
}

// sysctlGroup returns the kind of namespace that a kernel setting belongs to.
func sysctlGroup(name string) string {
	has := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case has("net."):
		return "net"
	case name == "kernel.sem", has("kernel.shm"), has("kernel.msg"), has("fs.mqueue."):
		return "ipc"
	}
	return ""
}

func validateSeccomp(p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, oneOf(at.Child("type"), p.Type, corev1.SeccompProfileTypeLocalhost,
			corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	local := at.Child("localhostProfile")
	switch {
	case p.Type != corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(local, kind.GoNames{Value: p}, "can only be set when seccomp type is Localhost"))
		}
	case p.LocalhostProfile == nil || *p.LocalhostProfile == "":
		errs = append(errs, field.Required(local, "must be set when seccomp type is Localhost"))
	default:
		errs = append(errs, validateDescendingPath(local, *p.LocalhostProfile)...)
	}
	return errs
}

func validateSecurity(sc *corev1.SecurityContext, ownUsers bool, at *field.Path) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := validateUserAndGroup(sc.RunAsUser, sc.RunAsGroup, at)
	if sc.ProcMount != nil {
		errs = append(errs, validateProcMount(*sc.ProcMount, ownUsers, at.Child("procMount"))...)
	}
	errs = append(errs, validateSeccomp(sc.SeccompProfile, at.Child("seccompProfile"))...)
	if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
		return append(errs, validateAppArmor(sc.AppArmorProfile, at.Child("appArmorProfile"))...)
	}
	if sc.Privileged != nil && *sc.Privileged {
		errs = append(errs, field.Invalid(at, kind.GoNames{Value: sc}, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	if sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
		errs = append(errs, field.Invalid(at, kind.GoNames{Value: sc},
			"cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
	}
	return append(errs, validateAppArmor(sc.AppArmorProfile, at.Child("appArmorProfile"))...)
}

// validateProcMount: what is masked would be the node's, were there no user
// namespace.
func validateProcMount(m corev1.ProcMountType, ownUsers bool, at *field.Path) field.ErrorList {
	errs := notAmong(at, m, corev1.DefaultProcMount, corev1.UnmaskedProcMount)
	if m == corev1.UnmaskedProcMount && !ownUsers {
		errs = append(errs, field.Invalid(at, m, "`hostUsers` must be false to use `Unmasked`"))
	}
	return errs
}

// validateHostUsers: a user namespace owns the pod's other namespaces, and so
// none of them can be the node's. Two paths are spelled as upstream has them.
func validateHostUsers(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	if !engine.OwnUsers(s) {
		return nil
	}
	var errs field.ErrorList
	for _, ns := range []struct {
		name   string
		shared bool
	}{{"hostNetwork", s.HostNetwork}, {"HostPID", s.HostPID}, {"HostIPC", s.HostIPC}} {
		if ns.shared {
			errs = append(errs, field.Forbidden(at.Child(ns.name), "when `hostUsers` is false"))
		}
	}
	return errs
}
