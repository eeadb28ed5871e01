package scheduler

import corev1 "k8s.io/api/core/v1"

// Why a node will not do because of the pods that run.
const (
	ReasonPodAffinity          = "node(s) didn't match pod affinity rules"
	ReasonPodAntiAffinity      = "node(s) didn't match pod anti-affinity rules"
	ReasonExistingAntiAffinity = "node(s) didn't satisfy existing pods anti-affinity rules"
)

// domain is the set of nodes that have this label in common.
type domain struct{ key, value string }

// neighbours counts, by domain, the pods that decide where a pod may be beside
// which others. It is kept up to date while preemption tries what would be
// without some of them.
type neighbours struct {
	pod   *corev1.Pod
	s     *Snapshot
	terms *podTerms
	// affinity counts what all required terms are about, anti what one of
	// the required aversions is about, existing the aversions of others
	// against this pod.
	affinity, anti, existing map[domain]int
	// liked is the sum of weights, of this pod's preferences and others'.
	liked map[domain]int64
	// itself says that the pod is what its own terms are about.
	itself bool
}

// neighboursOf counts for a pod; nil where no pod has a word in it.
func neighboursOf(p *corev1.Pod, s *Snapshot) (*neighbours, error) {
	terms, err := termsOf(p)
	if err != nil {
		return nil, err
	}
	if terms == nil && len(s.opinionated) == 0 {
		return nil, nil //nolint:nilnil // most clusters have no such pods
	}
	if terms == nil {
		terms = &podTerms{}
	}
	n := &neighbours{
		pod: p, s: s, terms: terms, itself: matchesAll(terms.affinity, p, s),
		affinity: map[domain]int{}, anti: map[domain]int{}, existing: map[domain]int{}, liked: map[domain]int64{},
	}
	others := s.opinionated
	if len(terms.affinity)+len(terms.anti)+len(terms.preferred) > 0 {
		others = s.pods
	}
	for _, other := range others {
		n.count(other, 1)
	}
	return n, nil
}

// count adds a pod that runs, or with -1 takes it away.
func (n *neighbours) count(other *podInfo, sign int) {
	if n == nil || other.node.node == nil || other.pod.UID == n.pod.UID {
		return
	}
	n.countMine(other, sign)
	if other.terms != nil {
		n.countTheirs(other, sign)
	}
}

// countMine counts what this pod says of the other.
func (n *neighbours) countMine(other *podInfo, sign int) {
	if matchesAll(n.terms.affinity, other.pod, n.s) {
		for i := range n.terms.affinity {
			bump(n.affinity, other, n.terms.affinity[i].key, sign)
		}
	}
	for i := range n.terms.anti {
		if t := &n.terms.anti[i]; t.matches(other.pod, n.s) {
			bump(n.anti, other, t.key, sign)
		}
	}
	for i := range n.terms.preferred {
		if t := &n.terms.preferred[i]; t.matches(other.pod, n.s) {
			bump(n.liked, other, t.key, int64(sign)*t.weight)
		}
	}
}

// countTheirs counts what the other says of this pod.
func (n *neighbours) countTheirs(other *podInfo, sign int) {
	for i := range other.terms.anti {
		if t := &other.terms.anti[i]; t.matches(n.pod, n.s) {
			bump(n.existing, other, t.key, sign)
		}
	}
	for i := range other.terms.preferred {
		if t := &other.terms.preferred[i]; t.matches(n.pod, n.s) {
			bump(n.liked, other, t.key, int64(sign)*t.weight)
		}
	}
	// A pod that has to be beside such pods would like this one, too.
	for i := range other.terms.affinity {
		if t := &other.terms.affinity[i]; t.matches(n.pod, n.s) {
			bump(n.liked, other, t.key, int64(sign)*hardAffinityWeight)
		}
	}
}

// hardAffinityWeight is what a requirement of a running pod counts as a
// preference.
const hardAffinityWeight = 1

func bump[N int | int64](m map[domain]N, other *podInfo, key string, by N) {
	value, ok := other.node.node.Labels[key]
	if !ok {
		return
	}
	d := domain{key, value}
	if m[d] += by; m[d] == 0 {
		delete(m, d)
	}
}

// filter rejects a node on which the pod would be without those it needs, or
// beside those that must not be near.
func (n *neighbours) filter(node *corev1.Node, reject func(why)) {
	switch {
	case n == nil:
	case !n.satisfied(node):
		reject(why{reason: ReasonPodAffinity, lasting: true})
	case n.averse(node):
		reject(why{reason: ReasonPodAntiAffinity})
	case n.unwanted(node):
		reject(why{reason: ReasonExistingAntiAffinity})
	}
}

// satisfied says whether every required term finds its pods around the node. The
// first of a group that wants to be together may be anywhere.
func (n *neighbours) satisfied(node *corev1.Node) bool {
	found := true
	for i := range n.terms.affinity {
		key := n.terms.affinity[i].key
		value, ok := node.Labels[key]
		if !ok {
			return false
		}
		found = found && n.affinity[domain{key, value}] > 0
	}
	return found || len(n.affinity) == 0 && n.itself
}

func (n *neighbours) averse(node *corev1.Node) bool {
	for i := range n.terms.anti {
		key := n.terms.anti[i].key
		if value, ok := node.Labels[key]; ok && n.anti[domain{key, value}] > 0 {
			return true
		}
	}
	return false
}

func (n *neighbours) unwanted(node *corev1.Node) bool {
	if len(n.existing) == 0 {
		return false
	}
	for key, value := range node.Labels {
		if n.existing[domain{key, value}] > 0 {
			return true
		}
	}
	return false
}

// score is the sum of all preferences that the node meets.
func (n *neighbours) score(node *corev1.Node) int64 {
	var sum int64
	for key, value := range node.Labels {
		sum += n.liked[domain{key, value}]
	}
	return sum
}
