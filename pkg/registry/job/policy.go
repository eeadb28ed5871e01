package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

// How long the lists of policies may be.
const (
	mostRules          = 20
	mostConditions     = 20
	mostExitCodes      = 255
	longestIndexesText = 64 << 10
)

func actions() []batchv1.PodFailurePolicyAction {
	return []batchv1.PodFailurePolicyAction{
		batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore,
	}
}

func validateFailurePolicy(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(s.PodFailurePolicy.Rules); n > mostRules {
		errs = append(errs, field.TooMany(at, n, mostRules))
	}
	for i := range s.PodFailurePolicy.Rules {
		errs = append(errs, validateRule(s, &s.PodFailurePolicy.Rules[i], at.Index(i))...)
	}
	return errs
}

func validateRule(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, at *field.Path) field.ErrorList {
	errs := required(r.Action, actions(), at.Child("action"))
	if r.Action == batchv1.PodFailurePolicyActionFailIndex && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(at.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
	}
	if r.OnExitCodes != nil {
		errs = append(errs, validateExitCodes(s, r.OnExitCodes, at.Child("onExitCodes"))...)
	}
	if len(r.OnPodConditions) > 0 {
		errs = append(errs, validateConditions(r.OnPodConditions, at.Child("onPodConditions"))...)
	}
	switch both := r.OnExitCodes != nil; {
	case both && len(r.OnPodConditions) > 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
	case !both && len(r.OnPodConditions) == 0:
		errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
	}
	return errs
}

// required wants one of the values.
func required[T ~string](v T, allowed []T, at *field.Path) field.ErrorList {
	if v == "" {
		return field.ErrorList{field.Required(at, fmt.Sprintf("valid values: %q", allowed))}
	}
	return oneOf(&v, allowed, at)
}

func validateConditions(list []batchv1.PodFailurePolicyOnPodConditionsPattern, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n := len(list); n > mostConditions {
		errs = append(errs, field.TooMany(at, n, mostConditions))
	}
	for i, c := range list {
		for _, msg := range validation.IsQualifiedName(string(c.Type)) {
			errs = append(errs, field.Invalid(at.Index(i).Child("type"), string(c.Type), msg))
		}
		errs = append(errs, required(c.Status, []corev1.ConditionStatus{
			corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown,
		}, at.Index(i).Child("status"))...)
	}
	return errs
}

func validateExitCodes(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyOnExitCodesRequirement, at *field.Path) field.ErrorList {
	errs := required(r.Operator, []batchv1.PodFailurePolicyOnExitCodesOperator{
		batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn,
	}, at.Child("operator"))
	if name := r.ContainerName; name != nil {
		is := func(c corev1.Container) bool { return c.Name == *name }
		if !slices.ContainsFunc(s.Template.Spec.Containers, is) && !slices.ContainsFunc(s.Template.Spec.InitContainers, is) {
			errs = append(errs, field.Invalid(at.Child("containerName"), *name, "must be one of the container or initContainer names in the pod template"))
		}
	}
	values := at.Child("values")
	switch n := len(r.Values); {
	case n == 0:
		errs = append(errs, field.Invalid(values, r.Values, "at least one value is required"))
	case n > mostExitCodes:
		errs = append(errs, field.TooMany(values, n, mostExitCodes))
	}
	for i, v := range r.Values {
		if v == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			errs = append(errs, field.Invalid(values.Index(i), v, "must not be 0 for the In operator"))
		}
		if slices.Contains(r.Values[:i], v) {
			errs = append(errs, field.Duplicate(values.Index(i), v))
		}
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(values, r.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	p := s.SuccessPolicy
	if p == nil {
		return nil
	}
	if !indexed(s) {
		return field.ErrorList{field.Invalid(at, kind.GoNames{Value: *p}, "requires indexed completion mode")}
	}
	var errs field.ErrorList
	rules := at.Child("rules")
	if len(p.Rules) == 0 {
		errs = append(errs, field.Required(rules, "at least one rules must be specified when the successPolicy is specified"))
	}
	if n := len(p.Rules); n > mostRules {
		errs = append(errs, field.TooMany(rules, n, mostRules))
	}
	if s.Completions == nil {
		return errs // which is an error of its own
	}
	for i, r := range p.Rules {
		errs = append(errs, validateSuccessRule(r, int(*s.Completions), rules.Index(i))...)
	}
	return errs
}

func validateSuccessRule(r batchv1.SuccessPolicyRule, completions int, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	n := 0
	if text := r.SucceededIndexes; text != nil {
		if len(*text) > longestIndexesText {
			errs = append(errs, field.TooLong(at.Child("succeededIndexes"), "", longestIndexesText))
		}
		spans, err := parseIndexes(*text, completions)
		if err != nil {
			errs = append(errs, field.Invalid(at.Child("succeededIndexes"), *text, "error parsing succeededIndexes: "+err.Error()))
		}
		n = total(spans)
	}
	if r.SucceededCount == nil {
		return errs
	}
	count, path := int(*r.SucceededCount), at.Child("succeededCount")
	errs = append(errs, workload.NonNegative(int64(count), path)...)
	if count > completions {
		errs = append(errs, field.Invalid(path, *r.SucceededCount,
			fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
	}
	if r.SucceededIndexes != nil && count > n {
		errs = append(errs, field.Invalid(path, *r.SucceededCount,
			fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", n)))
	}
	return errs
}
