package pod

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
	"github.com/carob-project/carob/pkg/registry/kind"
)

// ValidateCreate returns everything that is wrong with a new pod, at once and in
// the order of Kubernetes. It expects defaults to be in place.
func ValidateCreate(p *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := apivalidation.ValidateObjectMeta(&p.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, kind.ValidateFinalizers(p.Finalizers, field.NewPath("metadata", "finalizers"))...)
	errs = append(errs, validateInit(p, field.NewPath("metadata", "annotations"))...)
	errs = append(errs, validateAnnotations(p.Annotations, &p.Spec, field.NewPath("metadata", "annotations"))...)
	errs = append(errs, Refuse(&p.Spec, spec)...)
	errs = append(errs, validatePodSpec(&p.Spec, spec)...)
	errs = append(errs, validateOwnClaims(p, spec.Child("volumes"))...)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	errs = append(errs, validateOldSeccomp(p.Annotations, &p.Spec, spec)...)
	return append(errs, validateOldAppArmor(p.Annotations, &p.Spec, spec)...)
}

// validatePodSpec checks the spec of a pod, of which more is asked than of that
// of a template.
func validatePodSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	errs := validateSpec(s, path)
	if g := s.TerminationGracePeriodSeconds; g != nil {
		errs = append(errs, apivalidation.ValidateNonnegativeField(*g, path.Child("terminationGracePeriodSeconds"))...)
	}
	errs = append(errs, validateImages(s.Containers, path.Child("containers"))...)
	return append(errs, validateImages(s.InitContainers, path.Child("initContainers"))...)
}

// validateInit checks the annotation that asks for an init.
func validateInit(p *corev1.Pod, path *field.Path) field.ErrorList {
	const key = "carob.dev/init"
	value, said := p.Annotations[key]
	if !said || value == "true" || value == "false" {
		return nil
	}
	return field.ErrorList{field.NotSupported(path.Key(key), value, []string{"true", "false"})}
}

// Refuse returns an error for each field of the spec that is set and that
// carob does not honour; see docs/fields.md.
func Refuse(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	return fields.Pod().Refuse(s, path)
}

// validateSpec checks the fields that are honoured.
func validateSpec(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(path.Child("terminationGracePeriodSeconds"), ""))
	}
	volumes, bad := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, bad...)
	errs = append(errs, validateAllContainers(s, volumes, path)...)
	errs = append(errs, validateEphemeral(s, volumes, path.Child("ephemeralContainers"))...)
	errs = append(errs, validatePodLevel(s, path.Child("resources"))...)
	if s.HostNetwork {
		errs = append(errs, validateSamePorts(s.Containers, path.Child("containers"))...)
	}
	errs = append(errs, oneOf(path.Child("restartPolicy"), s.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, oneOf(path.Child("dnsPolicy"), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet,
		corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurity(s, path.Child("securityContext"))...)
	if s.ShareProcessNamespace != nil && *s.ShareProcessNamespace && s.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), true,
			"ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, validateAffinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateDNS(s, path)...)
	errs = append(errs, validateReadinessGates(s, path)...)
	errs = append(errs, validateSchedulingGates(s, path)...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateHostUsers(s, path)...)
	errs = append(errs, validateHostnameOverride(s, path.Child("hostnameOverride"))...)
	errs = append(errs, validateNames(s, path)...)
	errs = append(errs, ValidateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateAliases(s.HostAliases, path.Child("hostAliases"))...)
	errs = append(errs, validateClasses(s, path)...)
	errs = append(errs, validateOS(s.OS, path.Child("os"))...)
	return append(errs, validateEnvFiles(s, path)...)
}

func validateNames(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.ServiceAccountName != "" {
		errs = append(errs, invalid(path.Child("serviceAccountName"), s.ServiceAccountName,
			apivalidation.ValidateServiceAccountName(s.ServiceAccountName, false))...)
	}
	if s.NodeName != "" {
		errs = append(errs, validateNodeName(s.NodeName, path.Child("nodeName"))...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d,
			validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if s.Hostname != "" {
		errs = append(errs, invalid(path.Child("hostname"), s.Hostname, validation.IsDNS1123Label(s.Hostname))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, invalid(path.Child("subdomain"), s.Subdomain, validation.IsDNS1123Label(s.Subdomain))...)
	}
	return errs
}

func validateAliases(aliases []corev1.HostAlias, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, a := range aliases {
		errs = append(errs, validateIP(path.Index(i).Child("ip"), a.IP)...)
		for j, name := range a.Hostnames {
			errs = append(errs, invalid(path.Index(i).Child("hostnames").Index(j), name, validation.IsDNS1123Subdomain(name))...)
		}
	}
	return errs
}

// validateOS: that carob runs no Windows is in the table of the fields.
func validateOS(os *corev1.PodOS, path *field.Path) field.ErrorList {
	switch {
	case os == nil:
		return nil
	case os.Name == "":
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	return oneOf(path, os.Name, corev1.Linux, corev1.Windows)
}

// validateHostnameOverride: whoever names the host as a whole cannot let the
// node or the subdomain do so too.
func validateHostnameOverride(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	if s.HostnameOverride == nil {
		return nil
	}
	var errs field.ErrorList
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if s.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if len(*s.HostnameOverride) > maxHostnameOverride {
		errs = append(errs, field.TooLong(at, "", maxHostnameOverride))
	}
	return append(errs, invalid(at, *s.HostnameOverride, validation.IsDNS1123Subdomain(*s.HostnameOverride))...)
}

// maxHostnameOverride is the length of the kernel's field.
const maxHostnameOverride = 64

func validateNodeName(name string, path *field.Path) field.ErrorList {
	return invalid(path, name, apivalidation.NameIsDNSSubdomain(name, false))
}

// validateIP takes no octets with leading zeros, and no IPv4 in IPv6 clothes.
func validateIP(path *field.Path, ip string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, ip, true, nil)
}

// invalid makes an error of every message about one value.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// oneOf checks a required value against those there are.
func oneOf[T ~string](path *field.Path, value T, known ...T) field.ErrorList {
	switch {
	case value == "":
		return field.ErrorList{field.Required(path, "")}
	case !slices.Contains(known, value):
		return field.ErrorList{field.NotSupported(path, value, known)}
	default:
		return nil
	}
}

// known checks a value, which may be empty too if that is known, against those
// there are.
func known[T ~string](path *field.Path, value T, all ...T) field.ErrorList {
	if slices.Contains(all, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, slices.Sorted(slices.Values(all)))}
}

// validateQuantity wants an amount that is not negative.
func validateQuantity(path *field.Path, q resource.Quantity) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}
