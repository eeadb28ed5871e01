package resourcequota

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/pod"
)

// Validate checks a new quota.
func Validate(q *corev1.ResourceQuota) field.ErrorList {
	return append(validateSpec(&q.Spec, field.NewPath("spec")), validateStatus(&q.Status, field.NewPath("status"))...)
}

func validateUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	errs := validateSpec(&q.Spec, field.NewPath("spec"))
	if !sameScopes(q.Spec.Scopes, old.Spec.Scopes) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}

func sameScopes(a, b []corev1.ResourceQuotaScope) bool {
	set := func(list []corev1.ResourceQuotaScope) []corev1.ResourceQuotaScope {
		return slices.Compact(slices.Sorted(slices.Values(list)))
	}
	return slices.Equal(set(a), set(b))
}

func validateSpec(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	errs := validateAmounts(s.Hard, at.Child("hard"))
	errs = append(errs, validateScopes(s, at.Child("scopes"))...)
	if s.ScopeSelector != nil {
		errs = append(errs, validateSelector(s, at.Child("scopeSelector", "matchExpressions"))...)
	}
	return errs
}

func validateStatus(s *corev1.ResourceQuotaStatus, at *field.Path) field.ErrorList {
	return append(validateAmounts(s.Hard, at.Child("hard")), validateAmounts(s.Used, at.Child("used"))...)
}

func validateAmounts(list corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		errs = append(errs, pod.ValidateQuotaResource(string(name), at.Key(string(name)))...)
		errs = append(errs, pod.ValidateQuotaAmount(string(name), list[name], at.Key(string(name)))...)
	}
	return errs
}

const (
	unsupported   = "unsupported scope"
	notOfResource = "unsupported scope applied to resource"
	conflicting   = "conflicting scopes"
)

func validateScopes(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, scope := range s.Scopes {
		if !known(scope) {
			errs = append(errs, field.Invalid(at, s.Scopes, unsupported))
		}
		for range unfit(scope, s.Hard) {
			errs = append(errs, field.Invalid(at, s.Scopes, notOfResource))
		}
	}
	return append(errs, validatePairs(s, s.Scopes, at)...)
}

// validatePairs: no object is in a scope and in its opposite.
func validatePairs(s *corev1.ResourceQuotaSpec, scopes []corev1.ResourceQuotaScope, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			errs = append(errs, field.Invalid(at, s.Scopes, conflicting))
		}
	}
	return errs
}

func validateSelector(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	var scopes []corev1.ResourceQuotaScope
	for i := range s.ScopeSelector.MatchExpressions {
		r := &s.ScopeSelector.MatchExpressions[i]
		if !known(r.ScopeName) {
			errs = append(errs, field.Invalid(at.Child("scopeName"), r.ScopeName, unsupported))
		}
		for range unfit(r.ScopeName, s.Hard) {
			errs = append(errs, field.Invalid(at, kind.GoNames{Value: s.ScopeSelector}, notOfResource))
		}
		errs = append(errs, validateOperator(r, at)...)
		scopes = append(scopes, r.ScopeName)
	}
	return append(errs, validatePairs(s, scopes, at)...)
}

func validateOperator(r *corev1.ScopedResourceSelectorRequirement, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	withoutValue := known(r.ScopeName) && r.ScopeName != corev1.ResourceQuotaScopePriorityClass && r.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass
	if withoutValue && r.Operator != corev1.ScopeSelectorOpExists {
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "+
			"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) != 0 {
			errs = append(errs, field.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	return errs
}

func known(scope corev1.ResourceQuotaScope) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// unfit are those of Kubernetes' own resources that nothing in the scope uses.
func unfit(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) []corev1.ResourceName {
	if !known(scope) {
		return nil
	}
	fits := []corev1.ResourceName{corev1.ResourcePods}
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		fits = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	default:
		fits = append(fits, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
			corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory)
	}
	var out []corev1.ResourceName
	for name := range hard {
		if !strings.Contains(string(name), "/") && pod.QuotaResource(string(name)) && !slices.Contains(fits, name) {
			out = append(out, name)
		}
	}
	return out
}
