package pod

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	mirrorAnnotation     = "kubernetes.io/config.mirror"
	tolerationAnnotation = "scheduler.alpha.kubernetes.io/tolerations"
	localhostSeccomp     = "localhost/"
)

// validateAnnotations checks the annotations that Kubernetes gives a meaning, or
// once gave one.
func validateAnnotations(annotations map[string]string, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if value, ok := annotations[mirrorAnnotation]; ok && s.NodeName == "" {
		errs = append(errs, field.Invalid(path.Key(mirrorAnnotation), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if text := annotations[tolerationAnnotation]; text != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(text), &tolerations); err != nil {
			errs = append(errs, field.Invalid(path, tolerationAnnotation, err.Error()))
		} else {
			errs = append(errs, ValidateTolerations(tolerations, path.Child(tolerationAnnotation))...)
		}
	}
	if cost, ok := annotations[corev1.PodDeletionCost]; ok && !validCost(cost) {
		errs = append(errs, field.Invalid(path.Key(corev1.PodDeletionCost), cost, "must be a 32bit integer"))
	}
	if profile, ok := annotations[corev1.SeccompPodAnnotationKey]; ok {
		errs = append(errs, validateSeccompName(profile, path.Child(corev1.SeccompPodAnnotationKey))...)
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix) {
			errs = append(errs, validateSeccompName(annotations[key], path.Child(key))...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if name, ok := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix); ok {
			errs = append(errs, validateAppArmorName(annotations[key], name, s, path.Key(key))...)
		}
	}
	return errs
}

// validCost: a cost is written in one way only, without plus or leading zeros.
func validCost(cost string) bool {
	n, err := strconv.ParseInt(cost, 10, 32)
	return err == nil && strconv.FormatInt(n, 10) == cost
}

func validateSeccompName(profile string, at *field.Path) field.ErrorList {
	switch profile {
	case corev1.SeccompProfileRuntimeDefault, corev1.DeprecatedSeccompProfileDockerDefault, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if name, ok := strings.CutPrefix(profile, localhostSeccomp); ok {
		return validateDescendingPath(at, name)
	}
	return field.ErrorList{field.Invalid(at, profile, "must be a valid seccomp profile")}
}

func validateAppArmorName(profile, container string, s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	found := false
	eachContainer(s, nil, func(c *corev1.Container, _ *field.Path) { found = found || c.Name == container })
	if !found {
		errs = append(errs, field.Invalid(at, container, "container not found"))
	}
	switch {
	case profile == "", profile == corev1.DeprecatedAppArmorBetaProfileNameUnconfined,
		profile == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault,
		strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
		return errs
	}
	return append(errs, field.Invalid(at, profile, "invalid AppArmor profile name: "+strconv.Quote(profile)))
}

// validateOldSeccomp: who says something in an annotation and in the field that
// replaced it says the same.
func validateOldSeccomp(annotations map[string]string, s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	same := func(key string, p *corev1.SeccompProfile, at *field.Path) {
		if old, ok := annotations[key]; ok && p != nil {
			errs = append(errs, sameSeccomp(old, p, at.Child("securityContext", "seccompProfile"))...)
		}
	}
	if s.SecurityContext != nil {
		same(corev1.SeccompPodAnnotationKey, s.SecurityContext.SeccompProfile, path)
	}
	eachContainer(s, path, func(c *corev1.Container, at *field.Path) {
		if c.SecurityContext != nil {
			same(corev1.SeccompContainerAnnotationKeyPrefix+c.Name, c.SecurityContext.SeccompProfile, at)
		}
	})
	return errs
}

func sameSeccomp(old string, p *corev1.SeccompProfile, at *field.Path) field.ErrorList {
	same := true
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		same = old == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		same = old == corev1.SeccompProfileRuntimeDefault || old == corev1.DeprecatedSeccompProfileDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		name, local := strings.CutPrefix(old, localhostSeccomp)
		if local && (p.LocalhostProfile == nil || *p.LocalhostProfile != name) {
			return field.ErrorList{field.Forbidden(at.Child("localhostProfile"), "seccomp profile in annotation and field must match")}
		}
		same = local
	}
	if !same {
		return field.ErrorList{field.Forbidden(at.Child("type"), "seccomp type in annotation and field must match")}
	}
	return nil
}

// eachContainer visits the containers of all three lists, in the order in which
// Kubernetes tells about them.
func eachContainer(s *corev1.PodSpec, path *field.Path, visit func(c *corev1.Container, at *field.Path)) {
	for i := range s.InitContainers {
		visit(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		visit(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		c := corev1.Container(s.EphemeralContainers[i].EphemeralContainerCommon)
		visit(&c, path.Child("ephemeralContainers").Index(i))
	}
}
