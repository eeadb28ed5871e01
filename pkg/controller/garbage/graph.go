package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// Node is one object as far as garbage collection is concerned.
type Node struct {
	UID       types.UID
	Resource  resources.Resource
	Namespace string
	Name      string
	Owners    []metav1.OwnerReference
	// Deleting: the object is being deleted and goes when its finalizers
	// have.
	Deleting bool
	// Foreground and Orphan are the finalizers that the collector itself
	// has to serve.
	Foreground, Orphan bool
}

// NodeOf reads an object's metadata.
func NodeOf(r resources.Resource, o *metav1.PartialObjectMetadata) Node {
	return Node{
		UID:        o.UID,
		Resource:   r,
		Namespace:  o.Namespace,
		Name:       o.Name,
		Owners:     o.OwnerReferences,
		Deleting:   o.DeletionTimestamp != nil,
		Foreground: slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents),
		Orphan:     slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents),
	}
}

// Waiting reports whether the object goes only after the dependents that block
// its deletion.
func (n Node) Waiting() bool { return n.Deleting && n.Foreground }

// meets reports whether ref, in an object of that namespace, means n.
func (n Node) meets(ref metav1.OwnerReference, namespace string) bool {
	return n.UID == ref.UID && n.named(ref) && (!n.Resource.Namespaced || n.Namespace == namespace)
}

func (n Node) named(ref metav1.OwnerReference) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == n.Resource.GVR.Group && ref.Kind == n.Resource.Kind && ref.Name == n.Name
}

// Graph is what has been observed: objects and who names whom as owner. It is
// not safe for concurrent use. Set and Remove return the UIDs of the objects
// for which the change may call for an action.
type Graph struct {
	nodes map[types.UID]Node
	// dependents are those that name a UID as owner, whether or not the
	// owner has been observed.
	dependents map[types.UID]map[types.UID]struct{}
}

// NewGraph returns an empty graph.
func NewGraph() *Graph {
	return &Graph{nodes: map[types.UID]Node{}, dependents: map[types.UID]map[types.UID]struct{}{}}
}

// Set observes an object that exists.
func (g *Graph) Set(n Node) []types.UID {
	old, known := g.nodes[n.UID]
	g.nodes[n.UID] = n
	var examine []types.UID
	reowned := !known || !slices.EqualFunc(old.Owners, n.Owners, sameRef)
	if reowned {
		g.unlink(old)
		for _, ref := range n.Owners {
			if g.dependents[ref.UID] == nil {
				g.dependents[ref.UID] = map[types.UID]struct{}{}
			}
			g.dependents[ref.UID][n.UID] = struct{}{}
		}
		// An owner that waits may wait for this one no longer.
		examine = append(examine, g.waiting(old.Owners)...)
	}
	if n.Deleting && (n.Foreground || n.Orphan) || reowned && len(n.Owners) > 0 {
		examine = append(examine, n.UID)
	}
	if !known || n.Waiting() != old.Waiting() {
		examine = append(examine, g.naming(n.UID)...)
	}
	return examine
}

// Remove observes that an object exists no more.
func (g *Graph) Remove(uid types.UID) []types.UID {
	n, known := g.nodes[uid]
	if !known {
		return nil
	}
	delete(g.nodes, uid)
	g.unlink(n)
	return append(g.naming(uid), g.waiting(n.Owners)...)
}

// Get returns an observed object.
func (g *Graph) Get(uid types.UID) (Node, bool) {
	n, ok := g.nodes[uid]
	return n, ok
}

// Dependents returns the observed objects that rightly name n as their owner.
func (g *Graph) Dependents(n Node) []Node {
	var out []Node
	for uid := range g.dependents[n.UID] {
		d := g.nodes[uid]
		if slices.ContainsFunc(d.Owners, func(ref metav1.OwnerReference) bool { return n.meets(ref, d.Namespace) }) {
			out = append(out, d)
		}
	}
	return out
}

// Owner returns what has been observed of an owner that n names; false where
// the graph alone cannot tell.
func (g *Graph) Owner(n Node, ref metav1.OwnerReference) (OwnerState, bool) {
	owner, known := g.nodes[ref.UID]
	if !known || !owner.meets(ref, n.Namespace) {
		return 0, false
	}
	return StateOf(owner), true
}

// Foreign returns the namespace of an owner that n names although it is in
// another one, which no reference can reach. Found is false without such.
func (g *Graph) Foreign(n Node, ref metav1.OwnerReference) (namespace string, found bool) {
	owner, known := g.nodes[ref.UID]
	if known && owner.named(ref) && owner.Resource.Namespaced && owner.Namespace != n.Namespace {
		return owner.Namespace, true
	}
	return "", false
}

// Deadlocked reports whether n waits, through objects that all wait too, for
// itself: owners and dependents in a circle, all deleted in the foreground.
func (g *Graph) Deadlocked(n Node) bool {
	seen := map[types.UID]bool{}
	circle := false
	open := []Node{n}
	for len(open) > 0 {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		blocked := false
		for _, d := range g.Dependents(at) {
			if !d.blocks(at) {
				continue
			}
			if !d.Waiting() {
				return false // it will go, or somebody else has to act
			}
			blocked = true
			circle = circle || d.UID == n.UID
			if !seen[d.UID] {
				seen[d.UID] = true
				open = append(open, d)
			}
		}
		if !blocked {
			return false // it goes next
		}
	}
	return circle
}

// decide calls Decide with what the graph knows of n.
func (g *Graph) decide(n Node, states []OwnerState) Decision {
	return Decide(n, states, g.Dependents(n), n.Waiting() && g.Deadlocked(n))
}

// unlink takes n out of the dependents of its owners.
func (g *Graph) unlink(n Node) {
	for _, ref := range n.Owners {
		delete(g.dependents[ref.UID], n.UID)
		if len(g.dependents[ref.UID]) == 0 {
			delete(g.dependents, ref.UID)
		}
	}
}

// naming lists the objects that name uid as owner.
func (g *Graph) naming(uid types.UID) []types.UID {
	out := make([]types.UID, 0, len(g.dependents[uid]))
	for d := range g.dependents[uid] {
		out = append(out, d)
	}
	return out
}

// waiting lists those of the owners that wait for their dependents.
func (g *Graph) waiting(refs []metav1.OwnerReference) []types.UID {
	var out []types.UID
	for _, ref := range refs {
		if owner, known := g.nodes[ref.UID]; known && owner.Waiting() {
			out = append(out, ref.UID)
		}
	}
	return out
}

func sameRef(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID && a.APIVersion == b.APIVersion && a.Kind == b.Kind && a.Name == b.Name && blocks(a) == blocks(b)
}

// blocks reports whether n, a dependent of owner, holds up its deletion in the
// foreground.
func (n Node) blocks(owner Node) bool {
	return slices.ContainsFunc(n.Owners, func(ref metav1.OwnerReference) bool { return ref.UID == owner.UID && blocks(ref) })
}

// blocks reports whether the reference holds up its owner's deletion in the
// foreground.
func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}
