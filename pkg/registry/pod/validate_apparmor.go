package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/pod"
)

// maxLocalProfile is the longest path that Linux takes.
const maxLocalProfile = 4095

// validateAppArmor checks the form of a profile; whether there is one of that
// name the node finds out.
func validateAppArmor(p *corev1.AppArmorProfile, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	local := at.Child("localhostProfile")
	switch p.Type {
	case "":
		return field.ErrorList{field.Required(at.Child("type"), "type is required when appArmorProfile is set")}
	case corev1.AppArmorProfileTypeLocalhost:
		const missing = "must be set when AppArmor type is Localhost"
		if p.LocalhostProfile == nil {
			return field.ErrorList{field.Required(local, missing)}
		}
		var errs field.ErrorList
		switch name := *p.LocalhostProfile; {
		case strings.TrimSpace(name) != name:
			errs = append(errs, field.Invalid(local, name, "must not be padded with whitespace"))
		case name == "":
			errs = append(errs, field.Required(local, missing))
		}
		if len(*p.LocalhostProfile) > maxLocalProfile {
			errs = append(errs, field.TooLong(local, "", maxLocalProfile))
		}
		return errs
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if p.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(local, p.LocalhostProfile, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	}
	return oneOf(at.Child("type"), p.Type, corev1.AppArmorProfileTypeLocalhost,
		corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

// validateOldAppArmor: who names a profile in an annotation and in the field
// that replaced it names the same. For a container without the field the
// annotation wins over what the pod says, if it can be understood.
func validateOldAppArmor(annotations map[string]string, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	eachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		old, ok := annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]
		want, own := appArmorField(s, c)
		says := understoodAppArmor(old)
		if !ok || want == nil || !own && says != nil {
			return
		}
		at = at.Child("securityContext", "appArmorProfile")
		switch {
		case says == nil || says.Type != want.Type:
			errs = append(errs, field.Forbidden(at.Child("type"), "apparmor type in annotation and field must match"))
		case says.LocalhostProfile != nil && (want.LocalhostProfile == nil || *says.LocalhostProfile != *want.LocalhostProfile):
			errs = append(errs, field.Forbidden(at.Child("localhostProfile"), "apparmor profile in annotation and field must match"))
		}
	})
	return errs
}

// understoodAppArmor is what an annotation means; nil where it means nothing
// that the field could say.
func understoodAppArmor(old string) *corev1.AppArmorProfile {
	p := pod.AppArmorOfAnnotation(old)
	if p != nil && p.LocalhostProfile != nil && *p.LocalhostProfile == "" {
		return nil
	}
	return p
}

// appArmorField is the profile that the fields give a container, and whether it
// is the container's own.
func appArmorField(s *corev1.PodSpec, c *corev1.Container) (p *corev1.AppArmorProfile, own bool) {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile, true
	}
	if s.SecurityContext != nil {
		return s.SecurityContext.AppArmorProfile, false
	}
	return nil, false
}

// adoptOldAppArmor writes what the old annotations say into the fields of
// containers that have none, so that both say the same, and returns the warnings
// about them. It is for new pods only (KEP-24).
func adoptOldAppArmor(p *corev1.Pod) []string {
	var out []string
	eachContainer(&p.Spec, nil, func(c *corev1.Container, _ *field.Path) {
		key := corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		old, said := p.Annotations[key]
		general, own := appArmorField(&p.Spec, c)
		if !said || own {
			return
		}
		says := understoodAppArmor(old)
		if says != nil && len(validateAppArmor(says, field.NewPath(key))) > 0 {
			says = nil
		}
		if says != nil && apiequality.Semantic.DeepEqual(says, general) {
			return
		}
		if says != nil {
			if c.SecurityContext == nil {
				c.SecurityContext = &corev1.SecurityContext{}
			}
			c.SecurityContext.AppArmorProfile = says
		}
		out = append(out, oldAppArmorWarning(field.NewPath("metadata", "annotations").Key(key)))
	})
	return out
}

func oldAppArmorWarning(at *field.Path) string {
	return at.String() + `: deprecated since v1.30; use the "appArmorProfile" field instead`
}
