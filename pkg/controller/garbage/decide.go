package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OwnerState is what is known for certain of an owner that an object names.
type OwnerState int

const (
	// OwnerLive: it exists.
	OwnerLive OwnerState = iota
	// OwnerWaiting: it is being deleted in the foreground, and so wants its
	// dependents gone first.
	OwnerWaiting
	// OwnerAbsent: the API server has no such object, or one of that name
	// with another UID.
	OwnerAbsent
	// OwnerUnresolvable: nobody can look it up, as its kind is not served or
	// lives in a namespace while the dependent does not.
	OwnerUnresolvable
)

// StateOf returns the state of an owner that exists.
func StateOf(owner Node) OwnerState {
	if owner.Waiting() {
		return OwnerWaiting
	}
	return OwnerLive
}

// Verb is what to do with an object.
type Verb int

const (
	// Keep: nothing.
	Keep Verb = iota
	// Delete the object, with Policy.
	Delete
	// DropOwners removes the references to the UIDs in Owners.
	DropOwners
	// Orphan removes the references to the object from all in Dependents,
	// and then its orphan finalizer.
	Orphan
	// Release removes the foreground finalizer.
	Release
)

// Decision is what to do with one object.
type Decision struct {
	Verb       Verb
	Policy     metav1.DeletionPropagation
	Owners     []types.UID
	Dependents []types.UID
	// Examine are objects to look at, because this one waits for them.
	Examine []types.UID
}

// Decide says what to do with n. states are those of n.Owners, in that order;
// dependents are the objects that name n as owner; deadlocked is what the graph
// says of n.
func Decide(n Node, states []OwnerState, dependents []Node, deadlocked bool) Decision {
	switch {
	case n.Deleting && n.Orphan:
		return Decision{Verb: Orphan, Dependents: uids(dependents)}
	case n.Waiting():
		return decideWaiting(n, dependents, deadlocked)
	case n.Deleting, len(n.Owners) == 0, slices.Contains(states, OwnerUnresolvable):
		return Decision{}
	case slices.Contains(states, OwnerLive):
		return dropDead(n, states)
	case slices.Contains(states, OwnerWaiting) && len(dependents) > 0:
		// Its own dependents have to go first too, or the owner would go
		// before all below it have.
		return Decision{Verb: Delete, Policy: metav1.DeletePropagationForeground}
	}
	return Decision{Verb: Delete, Policy: policy(n)}
}

// decideWaiting lets n go when nothing blocks it any more, or when the wait
// would never end.
func decideWaiting(n Node, dependents []Node, deadlocked bool) Decision {
	var examine []types.UID
	blocked := false
	for _, d := range dependents {
		if !d.blocks(n) {
			continue
		}
		blocked = true
		if !d.Deleting {
			examine = append(examine, d.UID)
		}
	}
	if blocked && !deadlocked {
		return Decision{Examine: examine}
	}
	return Decision{Verb: Release}
}

// dropDead is for an object that keeps at least one live owner.
func dropDead(n Node, states []OwnerState) Decision {
	var dead []types.UID
	for i, ref := range n.Owners {
		if states[i] != OwnerLive {
			dead = append(dead, ref.UID)
		}
	}
	if len(dead) == 0 {
		return Decision{}
	}
	return Decision{Verb: DropOwners, Owners: dead}
}

// policy is how to delete an object without owners: as its finalizers ask.
func policy(n Node) metav1.DeletionPropagation {
	switch {
	case n.Orphan:
		return metav1.DeletePropagationOrphan
	case n.Foreground:
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

func uids(nodes []Node) []types.UID {
	out := make([]types.UID, 0, len(nodes))
	for _, n := range nodes {
		out = append(out, n.UID)
	}
	return out
}
