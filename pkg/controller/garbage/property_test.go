package garbage

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// things is the one kind of object in these tests.
var things = resources.Resource{
	GVR: schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}, Kind: "Thing", Namespaced: true,
}

// world is an API server with one kind of object, a watch that may lag, and
// the collector's queue.
type world struct {
	t       *rapid.T
	objects map[types.UID]*Node
	held    map[types.UID]bool // has a finalizer of somebody else
	number  int
	watch   []func()

	graph *Graph
	queue map[types.UID]bool
	// orphaned must not be deleted by the collector.
	orphaned map[types.UID]bool
	// doomed were deleted in the foreground: their dependents are to go,
	// whatever holds the owner itself afterwards.
	doomed map[types.UID]bool
}

func newWorld(t *rapid.T) *world {
	return &world{
		t: t, objects: map[types.UID]*Node{}, held: map[types.UID]bool{}, graph: NewGraph(),
		queue: map[types.UID]bool{}, orphaned: map[types.UID]bool{}, doomed: map[types.UID]bool{},
	}
}

// sorted makes choices reproducible.
func (w *world) sorted() []types.UID {
	var out []types.UID
	for uid := range w.objects {
		out = append(out, uid)
	}
	slices.Sort(out)
	return out
}

// changed puts the object's present state on the watch.
func (w *world) changed(uid types.UID) {
	n := *w.objects[uid]
	n.Owners = slices.Clone(n.Owners)
	w.watch = append(w.watch, func() { w.examineLater(w.graph.Set(n)) })
}

func (w *world) examineLater(uids []types.UID) {
	for _, uid := range uids {
		w.queue[uid] = true
	}
}

// settle removes an object that is being deleted and that nothing holds.
func (w *world) settle(uid types.UID) {
	if n := w.objects[uid]; n.Deleting && !n.Foreground && !n.Orphan && !w.held[uid] {
		delete(w.objects, uid)
		w.watch = append(w.watch, func() { w.examineLater(w.graph.Remove(uid)) })
		return
	}
	w.changed(uid)
}

// delete is the API server's part of a deletion.
func (w *world) delete(uid types.UID, policy metav1.DeletionPropagation) {
	n := w.objects[uid]
	n.Deleting = true
	n.Foreground = policy == metav1.DeletePropagationForeground
	n.Orphan = policy == metav1.DeletePropagationOrphan
	w.doomed[uid] = n.Foreground
	w.settle(uid)
}

// owner finds what a reference of n means.
func (w *world) owner(n Node, ref metav1.OwnerReference) *Node {
	if o := w.objects[ref.UID]; o != nil && o.meets(ref, n.Namespace) {
		return o
	}
	return nil
}

func (w *world) drawOwners(t *rapid.T) []metav1.OwnerReference {
	var out []metav1.OwnerReference
	for _, uid := range rapid.SliceOfNDistinct(rapid.IntRange(1, w.number+1), 0, 3, rapid.ID[int]).Draw(t, "owners") {
		out = append(out, metav1.OwnerReference{
			APIVersion: "example.com/v1", Kind: "Thing", Name: fmt.Sprint("n", uid), UID: types.UID(fmt.Sprintf("%03d", uid)),
			BlockOwnerDeletion: new(rapid.Bool().Draw(t, "blocks")),
		})
	}
	return out
}

func (w *world) create(t *rapid.T) {
	owners := w.drawOwners(t)
	w.number++
	uid := types.UID(fmt.Sprintf("%03d", w.number))
	// Nothing can name an object that does not exist yet.
	owners = slices.DeleteFunc(owners, func(ref metav1.OwnerReference) bool { return ref.UID >= uid })
	w.objects[uid] = &Node{
		UID: uid, Resource: things, Name: fmt.Sprint("n", w.number), Owners: owners,
		Namespace: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "namespace"),
	}
	w.held[uid] = rapid.IntRange(0, 9).Draw(t, "held") == 0
	w.changed(uid)
}

// examine does what the controller does with one key.
func (w *world) examine(uid types.UID) {
	delete(w.queue, uid)
	if _, known := w.graph.Get(uid); !known {
		return
	}
	live := w.objects[uid]
	if live == nil {
		return
	}
	n := *live
	var states []OwnerState
	for _, ref := range n.Owners {
		state, observed := w.graph.Owner(n, ref)
		if !observed {
			state = OwnerAbsent
			if o := w.owner(n, ref); o != nil {
				state = StateOf(*o)
				w.queue[uid] = true // not certain: look again
			}
		}
		states = append(states, state)
	}
	d := w.graph.decide(n, states)
	w.examineLater(d.Examine)
	w.apply(n, d)
}

func (w *world) apply(n Node, d Decision) {
	switch d.Verb {
	case Delete:
		w.checkDelete(n)
		w.delete(n.UID, d.Policy)
	case DropOwners:
		w.drop(n.UID, d.Owners)
	case Orphan:
		for _, dep := range d.Dependents {
			if w.objects[dep] != nil {
				w.drop(dep, []types.UID{n.UID})
			}
		}
		w.objects[n.UID].Orphan = false
		w.settle(n.UID)
	case Release:
		w.checkRelease(n)
		w.objects[n.UID].Foreground = false
		w.settle(n.UID)
	}
}

func (w *world) drop(uid types.UID, owners []types.UID) {
	o := w.objects[uid]
	o.Owners = slices.DeleteFunc(slices.Clone(o.Owners), func(ref metav1.OwnerReference) bool { return slices.Contains(owners, ref.UID) })
	w.changed(uid)
}

// checkDelete: nothing with a live owner is deleted, nor anything orphaned.
func (w *world) checkDelete(n Node) {
	for _, ref := range n.Owners {
		if o := w.owner(n, ref); o != nil && !w.doomed[o.UID] {
			w.t.Fatalf("%s is deleted although its owner %s lives", n.UID, ref.UID)
		}
	}
	if len(n.Owners) == 0 {
		w.t.Fatalf("%s is deleted although it had no owner", n.UID)
	}
	if w.orphaned[n.UID] {
		w.t.Fatalf("%s is deleted although it was orphaned", n.UID)
	}
}

// checkRelease: no dependent that has been observed still blocks, unless all
// wait for each other.
func (w *world) checkRelease(n Node) {
	if w.graph.Deadlocked(n) {
		return
	}
	for _, d := range w.graph.Dependents(n) {
		for _, ref := range d.Owners {
			if ref.UID == n.UID && blocks(ref) {
				w.t.Fatalf("%s is let go although %s blocks it", n.UID, d.UID)
			}
		}
	}
}

// userDelete also notes what an orphaning deletion has to spare: observed
// dependents that have no other owner.
func (w *world) userDelete(t *rapid.T) {
	if len(w.objects) == 0 {
		return
	}
	uid := rapid.SampledFrom(w.sorted()).Draw(t, "victim")
	if w.objects[uid].Deleting {
		return
	}
	policy := rapid.SampledFrom([]metav1.DeletionPropagation{
		metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan,
	}).Draw(t, "policy")
	if policy == metav1.DeletePropagationOrphan {
		for _, d := range w.graph.Dependents(*w.objects[uid]) {
			if live := w.objects[d.UID]; live != nil && len(live.Owners) == 1 && live.Owners[0].UID == uid && len(d.Owners) == 1 {
				w.orphaned[d.UID] = true
			}
		}
	}
	w.delete(uid, policy)
}

func (w *world) deliver() {
	if len(w.watch) > 0 {
		event := w.watch[0]
		w.watch = w.watch[1:]
		event()
	}
}

func (w *world) examineAny(t *rapid.T) {
	var due []types.UID
	for uid := range w.queue {
		due = append(due, uid)
	}
	if len(due) > 0 {
		slices.Sort(due)
		w.examine(rapid.SampledFrom(due).Draw(t, "due"))
	}
}

// quiesce lets everything run until nothing is left to do.
func (w *world) quiesce() {
	for range 10000 {
		if len(w.watch) > 0 {
			w.deliver()
			continue
		}
		if len(w.queue) == 0 {
			return
		}
		w.examine(slices.Min(slices.Collect(maps.Keys(w.queue))))
	}
	w.t.Fatalf("never comes to rest: %d due", len(w.queue))
}

// checkRest: at rest no object lives that only absent or waiting owners have,
// and none waits without a reason.
func (w *world) checkRest() {
	for uid, n := range w.objects {
		live := len(n.Owners) == 0
		for _, ref := range n.Owners {
			o := w.owner(*n, ref)
			live = live || o != nil && !o.Waiting()
		}
		if !live && !n.Deleting {
			w.t.Errorf("%s lives without an owner: %+v", uid, n.Owners)
		}
		if n.Orphan {
			w.t.Errorf("%s still has to orphan", uid)
		}
		if n.Waiting() && !w.heldUp(uid, map[types.UID]bool{}) {
			w.t.Errorf("%s waits for nothing", uid)
		}
		// Only what somebody else holds may hold others up.
		if n.Deleting && !n.Foreground && !w.held[uid] {
			w.t.Errorf("%s should be gone", uid)
		}
	}
}

// heldUp reports whether somebody else's finalizer holds the object, or one
// that blocks it directly or through others.
func (w *world) heldUp(uid types.UID, seen map[types.UID]bool) bool {
	if seen[uid] {
		return false
	}
	seen[uid] = true
	if w.held[uid] {
		return true
	}
	for other, d := range w.objects {
		for _, ref := range d.Owners {
			if ref.UID == uid && blocks(ref) && w.owner(*d, ref) != nil && w.heldUp(other, seen) {
				return true
			}
		}
	}
	return false
}

func TestCollectorProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"create": w.create,
			"delete": w.userDelete,
			"adopt": func(t *rapid.T) {
				if len(w.objects) == 0 {
					return
				}
				uid := rapid.SampledFrom(w.sorted()).Draw(t, "adopted")
				owners := w.drawOwners(t)
				w.objects[uid].Owners = slices.DeleteFunc(owners, func(ref metav1.OwnerReference) bool { return ref.UID == uid || ref.UID > w.last() })
				delete(w.orphaned, uid)
				w.changed(uid)
			},
			"deliver": func(*rapid.T) { w.deliver() },
			"examine": w.examineAny,
		})
		w.quiesce()
		w.checkRest()
	})
}

func (w *world) last() types.UID { return types.UID(fmt.Sprintf("%03d", w.number)) }
