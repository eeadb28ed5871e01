package pod

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
)

// ValidateCreate returns everything that is wrong with a new pod, at once. It
// expects defaults to be in place.
func ValidateCreate(p *corev1.Pod) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&p.ObjectMeta, true, apivalidation.NameIsDNSSubdomain,
		field.NewPath("metadata"))
	errs = append(errs, validateInit(p, field.NewPath("metadata", "annotations"))...)
	errs = append(errs, Refuse(&p.Spec, field.NewPath("spec"))...)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "ephemeralContainers"), "cannot be set on create"))
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "nodeName"),
			"cannot be set until all schedulingGates have been cleared"))
	}
	return append(errs, validateSpec(&p.Spec, field.NewPath("spec"))...)
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
	volumes, errs := validateVolumes(s.Volumes, path.Child("volumes"))
	errs = append(errs, validateAllContainers(s, volumes, path)...)
	errs = append(errs, validatePodLevel(s, path.Child("resources"))...)
	errs = append(errs, validateEphemeral(s, volumes, path.Child("ephemeralContainers"))...)
	errs = append(errs, oneOf(path.Child("restartPolicy"), s.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, validatePodSecurity(s.SecurityContext, path.Child("securityContext"))...)
	if s.ShareProcessNamespace != nil && *s.ShareProcessNamespace && s.HostPID {
		errs = append(errs, field.Invalid(path.Child("shareProcessNamespace"), true,
			"ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, validateTimes(s, path)...)
	errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	if s.NodeName != "" {
		errs = append(errs, validateNodeName(s.NodeName, path.Child("nodeName"))...)
	}
	errs = append(errs, ValidateTolerations(s.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateAffinity(s.Affinity, path.Child("affinity"))...)
	errs = append(errs, validateSpread(s.TopologySpreadConstraints, path.Child("topologySpreadConstraints"))...)
	errs = append(errs, validateClasses(s, path)...)
	errs = append(errs, validateNames(s, path)...)
	errs = append(errs, validateGates(s, path)...)
	return append(errs, validateDNS(s, path)...)
}

func validateTimes(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	grace := path.Child("terminationGracePeriodSeconds")
	if s.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(grace, ""))
	} else {
		errs = append(errs, apivalidation.ValidateNonnegativeField(*s.TerminationGracePeriodSeconds, grace)...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil && (*d < 1 || *d > math.MaxInt32) {
		errs = append(errs, field.Invalid(path.Child("activeDeadlineSeconds"), *d,
			validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	return errs
}

func validateNames(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Hostname != "" {
		errs = append(errs, invalid(path.Child("hostname"), s.Hostname, validation.IsDNS1123Label(s.Hostname))...)
	}
	errs = append(errs, validateHostnameOverride(s, path.Child("hostnameOverride"))...)
	if s.ServiceAccountName != "" {
		errs = append(errs, invalid(path.Child("serviceAccountName"), s.ServiceAccountName,
			apivalidation.ValidateServiceAccountName(s.ServiceAccountName, false))...)
	}
	if s.Subdomain != "" {
		errs = append(errs, invalid(path.Child("subdomain"), s.Subdomain, validation.IsDNS1123Label(s.Subdomain))...)
	}
	aliases := path.Child("hostAliases")
	for i, a := range s.HostAliases {
		errs = append(errs, validateIP(aliases.Index(i).Child("ip"), a.IP)...)
		for j, name := range a.Hostnames {
			errs = append(errs, invalid(aliases.Index(i).Child("hostnames").Index(j), name,
				validation.IsDNS1123Subdomain(name))...)
		}
	}
	return errs
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

// validateIP takes the forms that Kubernetes has always taken for this kind
// of field, such as octets with leading zeros.
func validateIP(path *field.Path, ip string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, ip, false, nil)
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
		return field.ErrorList{field.NotSupported(path, value, slices.Sorted(slices.Values(known)))}
	default:
		return nil
	}
}

// validateName checks a required DNS label that is unique in its list.
func validateName(path *field.Path, name string, seen sets.Set[string]) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if errs := invalid(path, name, validation.IsDNS1123Label(name)); len(errs) > 0 {
		return errs
	}
	if seen.Has(name) {
		return field.ErrorList{field.Duplicate(path, name)}
	}
	seen.Insert(name)
	return nil
}

// validateQuantity wants an amount that is not negative.
func validateQuantity(path *field.Path, q resource.Quantity) field.ErrorList {
	if q.Sign() < 0 {
		return field.ErrorList{field.Invalid(path, q.String(), apivalidation.IsNegativeErrorMsg)}
	}
	return nil
}
