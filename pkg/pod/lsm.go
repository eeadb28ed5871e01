package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// SecurityModules are those of the node's kernel that are in force.
type SecurityModules struct {
	AppArmor, SELinux bool
	// Labels: SELinux's policy has labels for containers.
	Labels bool
}

// ForbiddenModules returns reason and message of the rejection of a pod that
// asks for what the node cannot enforce; else empty.
func ForbiddenModules(p *corev1.Pod, m SecurityModules) (reason, message string) {
	if needsAppArmor(p) {
		if !m.AppArmor {
			return "AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"
		}
		for c := range AllContainers(p) {
			a := appArmorOf(p, c)
			if a != nil && a.Type == corev1.AppArmorProfileTypeLocalhost && strings.TrimSpace(localProfileOf(a)) == "" {
				return "AppArmor", fmt.Sprintf("Cannot enforce AppArmor: invalid empty AppArmor profile name: %q", a)
			}
		}
	}
	// Where there is no SELinux its options mean nothing, as in Kubernetes.
	if m.SELinux && !m.Labels && hasLabels(p) {
		return "SELinux", "Cannot enforce SELinux: the policy of this node has no labels for containers"
	}
	return "", ""
}

// needsAppArmor says whether something of the pod names a profile.
func needsAppArmor(p *corev1.Pod) bool {
	confined := func(a *corev1.AppArmorProfile) bool {
		return a != nil && a.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if sc := p.Spec.SecurityContext; sc != nil && confined(sc.AppArmorProfile) {
		return true
	}
	for c := range AllContainers(p) {
		if confined(appArmorOf(p, c)) {
			return true
		}
	}
	return false
}

// appArmorOf is what holds for a container: its own field, the old annotation,
// or what the pod says; nil where none of them does.
func appArmorOf(p *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	if a := AppArmorOfAnnotation(p.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]); a != nil {
		return a
	}
	if p.Spec.SecurityContext != nil {
		return p.Spec.SecurityContext.AppArmorProfile
	}
	return nil
}

// AppArmorOfAnnotation is the profile that the value of the old annotation
// means; nil where it means none.
func AppArmorOfAnnotation(value string) *corev1.AppArmorProfile {
	switch value {
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
	if name, ok := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

func localProfileOf(a *corev1.AppArmorProfile) string {
	if a.LocalhostProfile == nil {
		return ""
	}
	return *a.LocalhostProfile
}

// AppArmor is what confines an attempt.
type AppArmor struct {
	// Unconfined: nothing does.
	Unconfined bool
	// Profile is one that is loaded on the node; empty: the default one.
	Profile string
	// Required: an attempt that cannot have the default profile is not made.
	Required bool
}

func appArmorFor(p *corev1.Pod, c *corev1.Container) AppArmor {
	a := appArmorOf(p, c)
	switch {
	case a == nil:
		return AppArmor{}
	case a.Type == corev1.AppArmorProfileTypeUnconfined:
		return AppArmor{Unconfined: true}
	case a.Type == corev1.AppArmorProfileTypeLocalhost:
		return AppArmor{Profile: localProfileOf(a), Required: true}
	}
	return AppArmor{Required: true}
}

// hasLabels says whether the pod sets SELinux options.
func hasLabels(p *corev1.Pod) bool {
	if SELinuxOf(p) != (corev1.SELinuxOptions{}) {
		return true
	}
	for c := range AllContainers(p) {
		if seLinuxFor(p, c) != (corev1.SELinuxOptions{}) {
			return true
		}
	}
	return false
}

// SELinuxOf are the parts of a label that a pod names for all its containers.
func SELinuxOf(p *corev1.Pod) corev1.SELinuxOptions {
	if sc := p.Spec.SecurityContext; sc != nil && sc.SELinuxOptions != nil {
		return *sc.SELinuxOptions
	}
	return corev1.SELinuxOptions{}
}

// seLinuxFor are the parts of a label that hold for a container. Where it names
// some itself, those of its pod do not count.
func seLinuxFor(p *corev1.Pod, c *corev1.Container) corev1.SELinuxOptions {
	if sc := c.SecurityContext; sc != nil && sc.SELinuxOptions != nil && *sc.SELinuxOptions != (corev1.SELinuxOptions{}) {
		return *sc.SELinuxOptions
	}
	return SELinuxOf(p)
}
