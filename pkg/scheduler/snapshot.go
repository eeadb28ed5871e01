package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Snapshot is what the scheduler knows of the cluster: the nodes, and what the
// pods on them take. It is brought up to date one object at a time; each
// change costs the same however large the cluster is. It belongs to one
// goroutine at a time: nothing may change it while Schedule or Fits reads it.
// The objects handed to it are kept and must not be modified afterwards.
type Snapshot struct {
	nodes map[string]*nodeInfo
	// known lists the nodes that exist; nodes also holds those that only
	// pods name.
	known []*nodeInfo
	pods  map[types.UID]*podInfo
	// opinionated are those of pods that have wishes about others.
	opinionated map[types.UID]*podInfo
	namespaces  map[string]labels.Set
	storage     storage
	budgets     map[string]*budget
}

// NewSnapshot returns a snapshot without nodes and pods.
func NewSnapshot() *Snapshot {
	return &Snapshot{
		nodes: map[string]*nodeInfo{}, pods: map[types.UID]*podInfo{}, opinionated: map[types.UID]*podInfo{},
		namespaces: map[string]labels.Set{}, storage: newStorage(),
		budgets: map[string]*budget{},
	}
}

// nodeInfo is a node and the sum of what its pods take.
type nodeInfo struct {
	name string
	// node is nil while only pods name it.
	node *corev1.Node
	// index is the place in Snapshot.known.
	index int
	// hard and soft are the taints that forbid and those that advise
	// against.
	hard, soft []corev1.Taint
	// unready is the taint that a node which is not Ready counts as having,
	// whether or not somebody has written it yet; nil for a ready node.
	unready     *corev1.Taint
	allocatable amounts
	maxPods     int64

	used                    amounts
	weightCPU, weightMemory int64
	pods                    int64
	ports                   portTable
	on                      map[types.UID]*podInfo
}

// podInfo is a pod that is counted.
type podInfo struct {
	pod    *corev1.Pod
	node   *nodeInfo
	demand demand
	// terms are its wishes about others; nil for most.
	terms *podTerms
}

// SetNode adds the node or brings it up to date. It reports whether anything
// changed that a decision depends on; a heartbeat is no such change.
func (s *Snapshot) SetNode(n *corev1.Node) bool {
	info := s.info(n.Name)
	old := info.node
	info.node = n
	if old == nil {
		info.index = len(s.known)
		s.known = append(s.known, info)
	} else if sameForScheduling(old, n) {
		return false
	}
	info.hard, info.soft = taintsOf(n)
	info.unready = unreadyTaint(n)
	info.allocatable = amountsOf(n.Status.Allocatable)
	info.maxPods = n.Status.Allocatable.Pods().Value()
	return true
}

// RemoveNode forgets the node. Pods that name it are still counted, should it
// come back.
func (s *Snapshot) RemoveNode(name string) {
	info := s.nodes[name]
	if info == nil || info.node == nil {
		return
	}
	last := s.known[len(s.known)-1]
	s.known[info.index] = last
	last.index = info.index
	s.known = slices.Delete(s.known, len(s.known)-1, len(s.known))
	info.node = nil
	s.drop(info)
}

// SetNamespace learns a namespace's labels, which pods may choose by. It
// reports whether they changed.
func (s *Snapshot) SetNamespace(name string, set map[string]string) bool {
	old, known := s.namespaces[name]
	s.namespaces[name] = set
	return !known || !maps.Equal(old, set)
}

// RemoveNamespace forgets a namespace.
func (s *Snapshot) RemoveNamespace(name string) { delete(s.namespaces, name) }

// SetPod counts the pod against the node with that name, and against no other.
// It reports whether pods with wishes about others may have an interest in what
// changed, and whether the pod takes less of the node than before.
func (s *Snapshot) SetPod(p *corev1.Pod, node string) (moved, freed bool) {
	old := s.pods[p.UID]
	s.RemovePod(p.UID)
	info := s.info(node)
	added := &podInfo{pod: p, node: info, demand: demandOf(p)}
	// Wishes that cannot be read are none; Schedule tells those of the pod
	// it is asked about.
	added.terms, _ = termsOf(p)
	info.count(added.demand, 1)
	info.on[p.UID] = added
	s.pods[p.UID] = added
	if added.terms != nil {
		s.opinionated[p.UID] = added
	}
	if old == nil || old.node != info {
		return true, false
	}
	moved = !maps.Equal(old.pod.Labels, p.Labels) || (old.pod.DeletionTimestamp == nil) != (p.DeletionTimestamp == nil)
	return moved, added.demand.requests.less(old.demand.requests)
}

// RemovePod stops counting the pod; it returns the node it was counted
// against, and false if there was none.
func (s *Snapshot) RemovePod(uid types.UID) (node string, found bool) {
	p := s.pods[uid]
	if p == nil {
		return "", false
	}
	delete(s.pods, uid)
	delete(s.opinionated, uid)
	delete(p.node.on, uid)
	p.node.count(p.demand, -1)
	s.drop(p.node)
	return p.node.name, true
}

// Opinionated says whether a pod that is counted has wishes about others.
func (s *Snapshot) Opinionated() bool { return len(s.opinionated) > 0 }

// Len returns how many nodes exist.
func (s *Snapshot) Len() int { return len(s.known) }

func (s *Snapshot) info(name string) *nodeInfo {
	info := s.nodes[name]
	if info == nil {
		info = &nodeInfo{name: name, ports: portTable{}, on: map[types.UID]*podInfo{}}
		s.nodes[name] = info
	}
	return info
}

// drop forgets an entry that neither a node nor a pod needs.
func (s *Snapshot) drop(info *nodeInfo) {
	if info.node == nil && info.pods == 0 {
		delete(s.nodes, info.name)
	}
}

func (n *nodeInfo) count(d demand, sign int64) {
	n.used.add(d.requests, sign)
	n.weightCPU += sign * d.weightCPU
	n.weightMemory += sign * d.weightMemory
	n.pods += sign
	for _, hp := range d.ports {
		if sign > 0 {
			n.ports.take(hp)
		} else {
			n.ports.release(hp)
		}
	}
}

// taintsOf splits the node's taints by what they do to pods yet to come.
func taintsOf(n *corev1.Node) (hard, soft []corev1.Taint) {
	for _, t := range n.Spec.Taints {
		switch t.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute:
			hard = append(hard, t)
		case corev1.TaintEffectPreferNoSchedule:
			soft = append(soft, t)
		}
	}
	return hard, soft
}

func unreadyTaint(n *corev1.Node) *corev1.Taint {
	t := &corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	switch readiness(n) {
	case corev1.ConditionTrue:
		return nil
	case corev1.ConditionUnknown:
		t.Key = corev1.TaintNodeUnreachable
	}
	return t
}

// readiness returns the status of the Ready condition. A node that has never
// said anything is not ready.
func readiness(n *corev1.Node) corev1.ConditionStatus {
	for i := range n.Status.Conditions {
		if c := &n.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return corev1.ConditionFalse
}

func sameForScheduling(a, b *corev1.Node) bool {
	return a.Spec.Unschedulable == b.Spec.Unschedulable &&
		readiness(a) == readiness(b) &&
		slices.EqualFunc(a.Spec.Taints, b.Spec.Taints, sameTaint) &&
		maps.Equal(a.Labels, b.Labels) &&
		sameList(a.Status.Allocatable, b.Status.Allocatable)
}

func sameTaint(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value }

func sameList(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if r, ok := b[name]; !ok || q.Cmp(r) != 0 {
			return false
		}
	}
	return true
}
