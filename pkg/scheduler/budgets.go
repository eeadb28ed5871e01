package scheduler

import (
	"maps"
	"slices"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// budget is what a PodDisruptionBudget still allows.
type budget struct {
	namespace string
	selector  labels.Selector
	allowed   int32
	// counted are the pods whose end it has taken in already.
	counted map[string]metav1.Time
}

func budgetKey(namespace, name string) string { return namespace + "/" + name }

// SetBudget adds the budget or brings it up to date.
func (s *Snapshot) SetBudget(b *policyv1.PodDisruptionBudget) {
	// One whose selector is none, or empty, is about no pod, here as in
	// Kubernetes' preemption.
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.Empty() {
		s.RemoveBudget(b.Namespace, b.Name)
		return
	}
	s.budgets[budgetKey(b.Namespace, b.Name)] = &budget{b.Namespace, selector, b.Status.DisruptionsAllowed, b.Status.DisruptedPods}
}

// RemoveBudget forgets the budget.
func (s *Snapshot) RemoveBudget(namespace, name string) {
	delete(s.budgets, budgetKey(namespace, name))
}

// covers says whether the budget is about the pod, whose end would cost it.
func (b *budget) covers(p *podInfo) bool {
	if b.namespace != p.pod.Namespace || len(p.pod.Labels) == 0 || !b.selector.Matches(labels.Set(p.pod.Labels)) {
		return false
	}
	_, counted := b.counted[p.pod.Name]
	return !counted
}

// violating tells the pods whose end would break a budget from the others, if
// all of them went in this order. Both keep it.
func (s *Snapshot) violating(pods []*podInfo) (breaking, rest []*podInfo) {
	if len(s.budgets) == 0 {
		return nil, pods
	}
	keys := slices.SortedFunc(maps.Keys(s.budgets), strings.Compare)
	left := map[string]int32{}
	for key, b := range s.budgets {
		left[key] = b.allowed
	}
	for _, p := range pods {
		broken := slices.ContainsFunc(keys, func(key string) bool {
			if !s.budgets[key].covers(p) {
				return false
			}
			left[key]--
			return left[key] < 0
		})
		if broken {
			breaking = append(breaking, p)
		} else {
			rest = append(rest, p)
		}
	}
	return breaking, rest
}
