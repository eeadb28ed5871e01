package garbage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/resources"
)

func thing(name string, owners ...metav1.OwnerReference) Node {
	return Node{UID: types.UID("uid-" + name), Resource: things, Namespace: "a", Name: name, Owners: owners}
}

func ref(name string, blocking bool) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Thing", Name: name, UID: types.UID("uid-" + name), BlockOwnerDeletion: &blocking}
}

func deleting(n Node, foreground, orphan bool) Node {
	n.Deleting, n.Foreground, n.Orphan = true, foreground, orphan
	return n
}

func TestDecide(t *testing.T) {
	both := thing("c", ref("x", false), ref("y", false))
	finalized := thing("c", ref("x", false))
	finalized.Foreground = true
	orphaning := thing("c", ref("x", false))
	orphaning.Orphan = true
	for name, tc := range map[string]struct {
		n          Node
		states     []OwnerState
		dependents []Node
		want       Decision
	}{
		"no owner":                  {n: thing("c")},
		"live owner":                {n: thing("c", ref("x", false)), states: []OwnerState{OwnerLive}},
		"absent owner":              {n: thing("c", ref("x", false)), states: []OwnerState{OwnerAbsent}, want: Decision{Verb: Delete, Policy: "Background"}},
		"as its finalizers ask":     {n: finalized, states: []OwnerState{OwnerAbsent}, want: Decision{Verb: Delete, Policy: "Foreground"}},
		"orphaning its dependents":  {n: orphaning, states: []OwnerState{OwnerAbsent}, want: Decision{Verb: Delete, Policy: "Orphan"}},
		"one of two is absent":      {n: both, states: []OwnerState{OwnerAbsent, OwnerLive}, want: Decision{Verb: DropOwners, Owners: []types.UID{"uid-x"}}},
		"one of two waits":          {n: both, states: []OwnerState{OwnerLive, OwnerWaiting}, want: Decision{Verb: DropOwners, Owners: []types.UID{"uid-y"}}},
		"both gone":                 {n: both, states: []OwnerState{OwnerAbsent, OwnerWaiting}, want: Decision{Verb: Delete, Policy: "Background"}},
		"unresolvable keeps":        {n: both, states: []OwnerState{OwnerAbsent, OwnerUnresolvable}},
		"waiting owner":             {n: thing("c", ref("x", true)), states: []OwnerState{OwnerWaiting}, want: Decision{Verb: Delete, Policy: "Background"}},
		"waiting owner, dependents": {n: thing("c", ref("x", true)), states: []OwnerState{OwnerWaiting}, dependents: []Node{thing("d", ref("c", true))}, want: Decision{Verb: Delete, Policy: "Foreground"}},
		"already being deleted":     {n: deleting(thing("c", ref("x", false)), false, false), states: []OwnerState{OwnerAbsent}},
		"foreground, blocked": {
			n: deleting(thing("c"), true, false), dependents: []Node{thing("d", ref("c", true)), thing("e", ref("c", false))},
			want: Decision{Examine: []types.UID{"uid-d"}},
		},
		"foreground, blocked by one that goes": {n: deleting(thing("c"), true, false), dependents: []Node{deleting(thing("d", ref("c", true)), false, false)}},
		"foreground, not blocked":              {n: deleting(thing("c"), true, false), dependents: []Node{thing("d", ref("c", false))}, want: Decision{Verb: Release}},
		"orphan":                               {n: deleting(thing("c"), false, true), dependents: []Node{thing("d", ref("c", true))}, want: Decision{Verb: Orphan, Dependents: []types.UID{"uid-d"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Decide(tc.n, tc.states, tc.dependents, false)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGraphOwner(t *testing.T) {
	cluster := things
	cluster.Namespaced = false
	g := NewGraph()
	g.Set(thing("x"))
	g.Set(deleting(thing("w"), true, false))
	g.Set(Node{UID: "uid-cluster", Resource: cluster, Name: "cluster"})
	elsewhere := thing("c")
	elsewhere.Namespace = "b"
	other := func(change func(*metav1.OwnerReference)) metav1.OwnerReference {
		r := ref("x", false)
		change(&r)
		return r
	}
	for name, tc := range map[string]struct {
		n     Node
		ref   metav1.OwnerReference
		state OwnerState
		known bool
	}{
		"live":              {thing("c"), ref("x", false), OwnerLive, true},
		"another version":   {thing("c"), other(func(r *metav1.OwnerReference) { r.APIVersion = "example.com/v2" }), OwnerLive, true},
		"waiting":           {thing("c"), ref("w", false), OwnerWaiting, true},
		"cluster-scoped":    {elsewhere, ref("cluster", false), OwnerLive, true},
		"unseen":            {thing("c"), ref("y", false), 0, false},
		"another namespace": {elsewhere, ref("x", false), 0, false},
		"another name":      {thing("c"), other(func(r *metav1.OwnerReference) { r.Name = "y" }), 0, false},
		"another kind":      {thing("c"), other(func(r *metav1.OwnerReference) { r.Kind = "Y" }), 0, false},
		"another group":     {thing("c"), other(func(r *metav1.OwnerReference) { r.APIVersion = "v1" }), 0, false},
		"another UID":       {thing("c"), other(func(r *metav1.OwnerReference) { r.UID = "other" }), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			state, known := g.Owner(tc.n, tc.ref)
			if state != tc.state || known != tc.known {
				t.Errorf("got %v %v", state, known)
			}
		})
	}
	if ns, foreign := g.Foreign(elsewhere, ref("x", false)); !foreign || ns != "a" {
		t.Errorf("foreign: %q %v", ns, foreign)
	}
	if _, foreign := g.Foreign(thing("c"), ref("x", false)); foreign {
		t.Error("own namespace is foreign")
	}
}

var _ resources.Handler = (*Controller)(nil)
