package pod

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of the restart rules of a container.
const (
	maxRestartRules     = 20
	maxRestartExitCodes = 255
)

// validateRestart checks a container's own restart policy and rules.
func validateRestart(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("restartPolicy")
	switch {
	case c.RestartPolicy != nil:
		errs = append(errs, notAmong(at, *c.RestartPolicy, corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure)...)
	case len(c.RestartPolicyRules) > 0:
		errs = append(errs, field.Required(at, "must specify restartPolicy when restart rules are used"))
	}
	rules := path.Child("restartPolicyRules")
	if n := len(c.RestartPolicyRules); n > maxRestartRules {
		errs = append(errs, field.TooMany(rules, n, maxRestartRules))
	}
	for i := range c.RestartPolicyRules {
		errs = append(errs, validateRestartRule(&c.RestartPolicyRules[i], rules.Index(i))...)
	}
	return errs
}

func validateRestartRule(r *corev1.ContainerRestartRule, path *field.Path) field.ErrorList {
	errs := notAmong(path.Child("action"), r.Action,
		corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
	at := path.Child("exitCodes")
	if r.ExitCodes == nil {
		return append(errs, field.Required(at, "must be specified"))
	}
	errs = append(errs, notAmong(at.Child("operator"), r.ExitCodes.Operator,
		corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
	if n := len(r.ExitCodes.Values); n > maxRestartExitCodes {
		errs = append(errs, field.TooMany(at.Child("values"), n, maxRestartExitCodes))
	}
	return errs
}

// notAmong checks a value, also an empty one, against those there are.
func notAmong[T ~string](path *field.Path, value T, known ...T) field.ErrorList {
	if slices.Contains(known, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, known)}
}
