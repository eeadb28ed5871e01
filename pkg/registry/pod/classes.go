package pod

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// validateClasses checks what a pod says about the classes it belongs to.
func validateClasses(s *corev1.PodSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.PriorityClassName != "" {
		errs = append(errs, invalid(path.Child("priorityClassName"), s.PriorityClassName,
			apivalidation.NameIsDNSSubdomain(s.PriorityClassName, false))...)
	}
	if n := s.RuntimeClassName; n != nil {
		errs = append(errs, invalid(path.Child("runtimeClassName"), *n, apivalidation.NameIsDNSSubdomain(*n, false))...)
	}
	if p := s.PreemptionPolicy; p != nil {
		errs = append(errs, oneOf(path.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	// Kubernetes reports these amounts as limits below the overhead.
	return append(errs, ValidateResourceList(s.Overhead, path.Child("overhead", "limits"))...)
}

// mergeLabelKeys turns the keys of a new pod whose values are to be those of its
// own labels into requirements of the selectors they go with.
func mergeLabelKeys(p *corev1.Pod) {
	merge := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok && s != nil {
				s.MatchExpressions = append(s.MatchExpressions,
					metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	term := func(t *corev1.PodAffinityTerm) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	terms := func(must []corev1.PodAffinityTerm, like []corev1.WeightedPodAffinityTerm) {
		for i := range must {
			term(&must[i])
		}
		for i := range like {
			term(&like[i].PodAffinityTerm)
		}
	}
	if a := p.Spec.Affinity; a != nil && a.PodAffinity != nil {
		terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// validateNodeAffinityUpdate lets the node affinity of a gated pod become
// stricter, never looser.
func validateNodeAffinityUpdate(s, old *corev1.PodSpec, path *field.Path) field.ErrorList {
	was := requiredTerms(old)
	if len(was) == 0 || apiequality.Semantic.DeepEqual(nodeAffinityOf(s), nodeAffinityOf(old)) {
		return nil
	}
	now := requiredTerms(s)
	at := path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	if len(now) != len(was) {
		return field.ErrorList{field.Invalid(at, kind.GoNames{Value: now}, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range was {
		if !narrows(&now[i], &was[i]) {
			errs = append(errs, field.Invalid(at.Index(i), kind.GoNames{Value: now[i]}, "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func nodeAffinityOf(s *corev1.PodSpec) *corev1.NodeAffinity {
	if s.Affinity == nil {
		return nil
	}
	return s.Affinity.NodeAffinity
}

func requiredTerms(s *corev1.PodSpec) []corev1.NodeSelectorTerm {
	n := nodeAffinityOf(s)
	if n == nil || n.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return n.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

// narrows says whether the term only asks for more than before. An empty one
// matches nothing, so nothing may be added to it.
func narrows(now, was *corev1.NodeSelectorTerm) bool {
	if len(was.MatchExpressions)+len(was.MatchFields) == 0 {
		return len(now.MatchExpressions)+len(now.MatchFields) == 0
	}
	begins := func(now, was []corev1.NodeSelectorRequirement) bool {
		return len(was) == 0 || len(now) >= len(was) && apiequality.Semantic.DeepEqual(now[:len(was)], was)
	}
	return begins(now.MatchExpressions, was.MatchExpressions) && begins(now.MatchFields, was.MatchFields)
}

// restoreNodeAffinity puts the old node affinity into rest, and removes an
// affinity that was made only to hold a new one.
func restoreNodeAffinity(rest, old *corev1.PodSpec) {
	before := nodeAffinityOf(old)
	if apiequality.Semantic.DeepEqual(nodeAffinityOf(rest), before) {
		return
	}
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: before}
	case old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = before
	}
}
