// Package workload has what the kinds that make pods from a template share:
// the template's defaults and validation, selectors, numbers and percentages,
// and the columns they are printed in. It must know none of the kinds.
package workload

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
)

// PrepareTemplate keeps the deprecated alias of the service account equal to
// the field, as requests do for pods.
func PrepareTemplate(s *corev1.PodSpec) {
	if s.ServiceAccountName == "" {
		s.ServiceAccountName = s.DeprecatedServiceAccount
	}
	s.DeprecatedServiceAccount = s.ServiceAccountName
}

// Changed compares two specs as the API does.
func Changed(spec, old any) bool { return !apiequality.Semantic.DeepEqual(spec, old) }

// NonNegative checks a number.
func NonNegative(n int64, at *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(n, at)
}

// Immutable checks a field that may not change.
func Immutable(now, old any, at *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(now, old, at)
}

// ValidateSelector checks a selector that has to select something; empty is
// what is said of one that does not.
func ValidateSelector(s *metav1.LabelSelector, at *field.Path, empty string) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(at, s, empty))
	}
	return errs
}

// ValidateTemplate checks a template that the selector has to match, for the
// kind that makes pods which never end.
func ValidateTemplate(t *corev1.PodTemplateSpec, s labels.Selector, at *field.Path, kindName string) field.ErrorList {
	errs := ValidateTemplateLabels(t, s, at)
	errs = append(errs, pod.ValidateTemplate(t, at)...)
	return append(errs, ValidateRunsForever(t, at, kindName)...)
}

// ValidateTemplateLabels wants the selector to match the template.
func ValidateTemplateLabels(t *corev1.PodTemplateSpec, s labels.Selector, at *field.Path) field.ErrorList {
	if s.Empty() || s.Matches(labels.Set(t.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`")}
}

// ValidateRunsForever refuses what would let pods end.
func ValidateRunsForever(t *corev1.PodTemplateSpec, at *field.Path, kindName string) field.ErrorList {
	var errs field.ErrorList
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("spec", "restartPolicy"), t.Spec.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("spec", "activeDeadlineSeconds"),
			"activeDeadlineSeconds in "+kindName+" is not Supported"))
	}
	return errs
}

// ValidateShare checks an amount that is a number or a percentage.
func ValidateShare(v intstr.IntOrString, at *field.Path) field.ErrorList {
	switch v.Type {
	case intstr.String:
		var errs field.ErrorList
		for _, msg := range validation.IsValidPercent(v.StrVal) {
			errs = append(errs, field.Invalid(at, v, msg))
		}
		return errs
	case intstr.Int:
		return NonNegative(int64(v.IntVal), at)
	default:
		return field.ErrorList{field.Invalid(at, v, "must be an integer or percentage (e.g '5%%')")}
	}
}

// Share is the number, or that before the percent sign.
func Share(v intstr.IntOrString) int {
	if p, ok := percent(v); ok {
		return p
	}
	return v.IntValue()
}

func percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}

// AtMostAll refuses more than 100%.
func AtMostAll(v intstr.IntOrString, at *field.Path) field.ErrorList {
	if p, ok := percent(v); ok && p > 100 {
		return field.ErrorList{field.Invalid(at, v, "must not be greater than 100%")}
	}
	return nil
}

// NameWarnings are about names that pods inherit.
func NameWarnings(name string) []string {
	if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 && name != "" {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in "+
			"surprising behavior; a DNS label is recommended: %v", msgs)}
	}
	return nil
}

// ContainersColumn, ImagesColumn and SelectorColumn are filled by Containers
// and metav1.FormatLabelSelector.
func ContainersColumn() metav1.TableColumnDefinition {
	return kind.Column("Containers", "string", "Names of each container in the template.", true)
}

// ImagesColumn is the second column of Containers.
func ImagesColumn() metav1.TableColumnDefinition {
	return kind.Column("Images", "string", "Images referenced by each container in the template.", true)
}

// SelectorColumn prints the selector.
func SelectorColumn(doc string) metav1.TableColumnDefinition {
	return kind.Column("Selector", "string", doc, true)
}

// Containers lists names and images of the template.
func Containers(t *corev1.PodTemplateSpec) (names, images string) {
	var n, i []string
	for _, c := range t.Spec.Containers {
		n, i = append(n, c.Name), append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

// Scaled returns the status half of a scale.
func Scaled(replicas int32, s *metav1.LabelSelector) (int32, string) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return replicas, ""
	}
	return replicas, selector.String()
}

// Counts are the numbers of a status that none may be more than the first.
type Counts struct {
	Field string
	N     int32
}

// ValidateCounts checks the numbers of a status: none is negative, those of
// within are not more than all.
func ValidateCounts(all int32, within []Counts, at *field.Path) field.ErrorList {
	return append(ValidateNumbers(all, within, at), ValidateWithin(all, within, at)...)
}

// ValidateNumbers is the first half of ValidateCounts: none is negative.
func ValidateNumbers(all int32, within []Counts, at *field.Path) field.ErrorList {
	errs := NonNegative(int64(all), at.Child("replicas"))
	for _, c := range within {
		errs = append(errs, NonNegative(int64(c.N), at.Child(c.Field))...)
	}
	return errs
}

// ValidateWithin is the second half: none is more than all.
func ValidateWithin(all int32, within []Counts, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, c := range within {
		if c.N > all {
			errs = append(errs, field.Invalid(at.Child(c.Field), c.N, "cannot be greater than status.replicas"))
		}
	}
	return errs
}

// ValidateAvailable wants no more replicas available than ready.
func ValidateAvailable(available, ready int32, at *field.Path) field.ErrorList {
	if available > ready {
		return field.ErrorList{field.Invalid(at.Child("availableReplicas"), available, "cannot be greater than readyReplicas")}
	}
	return nil
}
