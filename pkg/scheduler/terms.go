package scheduler

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// term is a pod's wish about other pods, ready for use.
type term struct {
	key        string
	selector   labels.Selector
	namespaces []string
	// namespaceSelector chooses further namespaces by their labels.
	namespaceSelector labels.Selector
	// weight is that of a preference; negative for an aversion.
	weight int64
}

// podTerms are all wishes of one pod about others.
type podTerms struct {
	affinity, anti []term
	preferred      []term
}

// termsOf reads the wishes of a pod; nil where it has none. The scheduler
// leaves out a pod whose selectors cannot be read only if it is the one to be
// placed; validation keeps such pods away.
func termsOf(p *corev1.Pod) (*podTerms, error) {
	a := p.Spec.Affinity
	if a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil {
		return nil, nil //nolint:nilnil // most pods have none
	}
	t := &podTerms{}
	if pa := a.PodAffinity; pa != nil {
		if err := addTerms(&t.affinity, p, pa.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
		if err := addWeighted(&t.preferred, p, pa.PreferredDuringSchedulingIgnoredDuringExecution, 1); err != nil {
			return nil, err
		}
	}
	if pa := a.PodAntiAffinity; pa != nil {
		if err := addTerms(&t.anti, p, pa.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return nil, err
		}
		if err := addWeighted(&t.preferred, p, pa.PreferredDuringSchedulingIgnoredDuringExecution, -1); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func addTerms(to *[]term, p *corev1.Pod, from []corev1.PodAffinityTerm) error {
	for i := range from {
		t, err := newTerm(p, &from[i])
		if err != nil {
			return err
		}
		*to = append(*to, t)
	}
	return nil
}

func addWeighted(to *[]term, p *corev1.Pod, from []corev1.WeightedPodAffinityTerm, sign int64) error {
	for i := range from {
		t, err := newTerm(p, &from[i].PodAffinityTerm)
		if err != nil {
			return err
		}
		t.weight = sign * int64(from[i].Weight)
		*to = append(*to, t)
	}
	return nil
}

// newTerm reads one term. Without a namespace it is about the pod's own; an
// empty selector of namespaces is about all.
func newTerm(p *corev1.Pod, from *corev1.PodAffinityTerm) (term, error) {
	t := term{key: from.TopologyKey, namespaces: from.Namespaces}
	var err error
	if t.selector, err = metav1.LabelSelectorAsSelector(from.LabelSelector); err != nil {
		return t, fmt.Errorf("label selector: %w", err)
	}
	if t.namespaceSelector, err = metav1.LabelSelectorAsSelector(from.NamespaceSelector); err != nil {
		return t, fmt.Errorf("namespace selector: %w", err)
	}
	if len(from.Namespaces) == 0 && from.NamespaceSelector == nil {
		t.namespaces = []string{p.Namespace}
	}
	return t, nil
}

// matches says whether the wish is about p.
func (t *term) matches(p *corev1.Pod, s *Snapshot) bool {
	if !t.selector.Matches(labels.Set(p.Labels)) {
		return false
	}
	return slices.Contains(t.namespaces, p.Namespace) || t.namespaceSelector.Matches(s.namespaces[p.Namespace])
}

// matchesAll says whether p is what every term is about; false without terms.
func matchesAll(terms []term, p *corev1.Pod, s *Snapshot) bool {
	for i := range terms {
		if !terms[i].matches(p, s) {
			return false
		}
	}
	return len(terms) > 0
}
