package node

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutil "k8s.io/utils/net"

	"github.com/carob-project/carob/pkg/registry/kind"
)

func validateSpec(s *corev1.NodeSpec) field.ErrorList {
	// Kubernetes reports taints as if they were metadata.
	errs := validateTaints(s.Taints, field.NewPath("metadata", "taints"))
	at := field.NewPath("spec", "podCIDRs")
	for i, cidr := range s.PodCIDRs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), cidr, true, nil)...)
	}
	if len(s.PodCIDRs) < 2 {
		return errs
	}
	dual, err := netutil.IsDualStackCIDRStrings(s.PodCIDRs)
	if err != nil {
		errs = append(errs, field.InternalError(at, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%w", err)))
	}
	if !dual || len(s.PodCIDRs) > 2 {
		errs = append(errs, field.Invalid(at, s.PodCIDRs, "may specify no more than one CIDR for each IP family"))
	}
	return errs
}

func warnings(n *corev1.Node) []string {
	var out []string
	for i, cidr := range n.Spec.PodCIDRs {
		at := field.NewPath("spec", "podCIDRs").Index(i)
		// The library reports what is no range at all to the log.
		if len(validation.IsValidCIDRForLegacyField(at, cidr, false, nil)) == 0 {
			out = append(out, validation.GetWarningsForCIDR(at, cidr)...)
		}
	}
	return out
}

func validateTaints(taints []corev1.Taint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	for i, t := range taints {
		item := at.Index(i)
		errs = append(errs, metavalidation.ValidateLabelName(t.Key, item.Child("key"))...)
		if bad := validation.IsValidLabelValue(t.Value); len(bad) > 0 {
			errs = append(errs, field.Invalid(item.Child("value"), t.Value, strings.Join(bad, ";")))
		}
		switch {
		case t.Effect == "":
			errs = append(errs, field.Required(item.Child("effect"), ""))
		case !slices.Contains(effects, t.Effect):
			errs = append(errs, field.NotSupported(item.Child("effect"), t.Effect, effects))
		}
		id := t.Key + ":" + string(t.Effect)
		if seen[id] {
			twice := field.Duplicate(item, kind.GoNames{Value: t})
			twice.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, twice)
		}
		seen[id] = true
	}
	return errs
}

// validateSpecUpdate keeps what names the machine, once it is set.
func validateSpecUpdate(s, old *corev1.NodeSpec) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("spec")
	if len(old.PodCIDRs) > 0 && !equality.Semantic.DeepEqual(s.PodCIDRs, old.PodCIDRs) {
		errs = append(errs, field.Forbidden(at.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.ProviderID == "" || s.ProviderID == old.ProviderID {
		return errs
	}
	if s.ProviderID == "" {
		return append(errs, field.Invalid(at.Child("providerID"), nil, "field cannot be cleared once set"))
	}
	return append(errs, field.Invalid(at.Child("providerID"), nil, "field cannot be modified once set"))
}

func validateStatus(s *corev1.NodeStatus) field.ErrorList {
	at := field.NewPath("status")
	errs := validateAmounts(s.Capacity, at.Child("capacity"))
	errs = append(errs, validateAmounts(s.Allocatable, at.Child("allocatable"))...)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range s.Addresses {
		if seen[a] {
			errs = append(errs, field.Duplicate(at.Child("addresses").Index(i), kind.GoNames{Value: a}))
		}
		seen[a] = true
	}
	return errs
}

func validateAmounts(list corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(list)) {
		q := list[name]
		at := at.Child(string(name))
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(at, q.String(), "must be greater than or equal to 0"))
		}
		if whole := q.DeepCopy(); countable(string(name)) && !whole.RoundUp(0) {
			errs = append(errs, field.Invalid(at, q, "must be an integer"))
		}
	}
	return errs
}

// countable says whether there are no halves of a resource: of pods, and of
// what others than Kubernetes have named.
func countable(name string) bool {
	return name == string(corev1.ResourcePods) || (strings.Contains(name, "/") && !strings.Contains(name, "kubernetes.io/"))
}
