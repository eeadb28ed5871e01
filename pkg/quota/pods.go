package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/carob-project/carob/pkg/pod"
)

// required are the resources of which a quota wants every container to say how
// much it is for.
var required = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// Pods is the Kind of pods.
func Pods() Kind {
	r := corev1.Resource("pods")
	exact := append([]corev1.ResourceName{
		CountName(r), corev1.ResourcePods, corev1.ResourceEphemeralStorage,
		corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
	}, required...)
	return Kind{
		Resource: r,
		Tracks: func(name corev1.ResourceName) bool {
			return slices.Contains(exact, name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
				strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) ||
				extended(name) && strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
		},
		Usage: func(obj any, now time.Time) corev1.ResourceList {
			p, ok := obj.(*corev1.Pod)
			if !ok {
				return nil
			}
			return podUsage(p, now)
		},
		Fits: func(scope corev1.ScopedResourceSelectorRequirement, obj any) bool {
			p, ok := obj.(*corev1.Pod)
			return ok && podFits(scope, p)
		},
	}
}

// podUsage is what a pod uses: as an object always, for the rest until it ends.
func podUsage(p *corev1.Pod, now time.Time) corev1.ResourceList {
	used := ones(CountName(corev1.Resource("pods")))
	if !Charged(p, now) {
		return used
	}
	o := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	Add(used, amounts(resourcehelper.PodRequests(p, o), resourcehelper.PodLimits(p, o)))
	return used
}

// amounts are requests and limits under the names that quotas have for them.
func amounts(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := ones(corev1.ResourcePods)
	for name, amount := range requests {
		asked := corev1.DefaultResourceRequestsPrefix + name
		switch {
		case computed(name), strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name], used[asked] = amount, amount
		case extended(name):
			used[asked] = amount
		}
	}
	for name, amount := range limits {
		if computed(name) {
			used["limits."+name] = amount
		}
	}
	return used
}

func computed(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
}

// Charged reports whether a pod uses more than its place among the objects: one
// that has ended does not, nor one that should have been gone by now.
func Charged(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	overdue, deleted := Overdue(p)
	return !deleted || !now.After(overdue)
}

// Overdue is when a pod that is being deleted stops being charged for.
func Overdue(p *corev1.Pod) (time.Time, bool) {
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return time.Time{}, false
	}
	return p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second), true
}

// Terminating reports whether the scope of that name has the pod: those have it
// that have to end in a given time.
func Terminating(p *corev1.Pod) bool {
	return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
}

func podFits(scope corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) bool {
	switch scope.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return Terminating(p)
	case corev1.ResourceQuotaScopeNotTerminating:
		return !Terminating(p)
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p)
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(scope, p.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return looksElsewhere(p.Spec.Affinity)
	}
	return false
}

func bestEffort(p *corev1.Pod) bool {
	class := p.Status.QOSClass
	if class == "" {
		class = pod.QOSClass(p)
	}
	return class == corev1.PodQOSBestEffort
}

// selects applies a scope's operator to the one value an object has, "" for
// none.
func selects(scope corev1.ScopedResourceSelectorRequirement, value string) bool {
	op, ok := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}[scope.Operator]
	if !ok {
		return false
	}
	r, err := labels.NewRequirement(string(scope.ScopeName), op, scope.Values)
	if err != nil {
		return false
	}
	has := labels.Set{}
	if value != "" {
		has[string(scope.ScopeName)] = value
	}
	return r.Matches(has)
}

// looksElsewhere reports whether a term is about pods of other namespaces.
func looksElsewhere(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(hard []corev1.PodAffinityTerm, soft []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, hard...)
		for i := range soft {
			terms = append(terms, soft[i].PodAffinityTerm)
		}
	}
	if n := a.PodAffinity; n != nil {
		add(n.RequiredDuringSchedulingIgnoredDuringExecution, n.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if n := a.PodAntiAffinity; n != nil {
		add(n.RequiredDuringSchedulingIgnoredDuringExecution, n.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool {
		return len(t.Namespaces) > 0 || t.NamespaceSelector != nil
	})
}

// Unsaid tells, in Kubernetes' words, for which of the resources that a quota
// bounds a pod's containers do not say how much they are for; "" where all is
// said. A pod with amounts of its own has said enough.
func Unsaid(p *corev1.Pod, bounded []corev1.ResourceName) string {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return ""
	}
	silent := map[corev1.ResourceName][]string{}
	for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		said := amounts(c.Resources.Requests, c.Resources.Limits)
		for _, name := range bounded {
			if _, ok := said[name]; !ok && slices.Contains(required, name) {
				silent[name] = append(silent[name], c.Name)
			}
		}
	}
	if len(silent) == 0 {
		return ""
	}
	var texts []string
	for _, name := range slices.Sorted(slices.Values(bounded)) {
		if who := silent[name]; len(who) > 0 {
			slices.Sort(who)
			texts = append(texts, fmt.Sprintf("%s for: %s", name, strings.Join(slices.Compact(who), ",")))
		}
	}
	return "must specify " + strings.Join(texts, "; ")
}
