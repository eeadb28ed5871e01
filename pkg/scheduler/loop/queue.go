package loop

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
)

// place is where an item of the queue is.
type place int

const (
	// active items wait for their turn.
	active place = iota
	// parked items wait for a change or for their due time.
	parked
	// busy items have been taken out and are being decided or written.
	busy
)

// item is one pod that has no node yet.
type item struct {
	pod   *corev1.Pod
	where place
	// seq orders pods that were created in the same second.
	seq uint64
	// index is the place in the heap it is in.
	index int
	// due is when a parked item is tried again although nothing changed.
	due time.Time
	// unschedulable items are tried again when the cluster changes; others
	// only failed to be written.
	unschedulable bool
	// changed says that its spec or the cluster changed while it was busy.
	changed bool
	// failures counts the tries in a row that gave the pod no node.
	failures int
	report   report
	// since is when it came, or when the last try ended.
	since time.Time
}

// report is what was last told about a pod, so that it is not told again.
type report struct {
	message string
	at      time.Time
}

// queue holds the pods without a node. It does no locking. Each operation on
// one item costs at most the logarithm of the length.
type queue struct {
	items  map[types.UID]*item
	active itemHeap
	parked itemHeap
	// hopeless is the unschedulable part of parked.
	hopeless map[types.UID]*item
	busy     map[types.UID]*item
	seq      uint64
}

func newQueue() *queue {
	return &queue{
		items:    map[types.UID]*item{},
		hopeless: map[types.UID]*item{},
		busy:     map[types.UID]*item{},
		active:   itemHeap{less: comesFirst},
		parked:   itemHeap{less: func(a, b *item) bool { return a.due.Before(b.due) }},
	}
}

// comesFirst orders by priority, then age.
func comesFirst(a, b *item) bool {
	if pa, pb := schedulinghelper.PodPriority(a.pod), schedulinghelper.PodPriority(b.pod); pa != pb {
		return pa > pb
	}
	if ta, tb := a.pod.CreationTimestamp, b.pod.CreationTimestamp; !ta.Equal(&tb) {
		return ta.Before(&tb)
	}
	return a.seq < b.seq
}

// set adds the pod or replaces what is known of it. A changed spec makes a
// parked pod active.
func (q *queue) set(p *corev1.Pod) {
	it := q.items[p.UID]
	if it == nil {
		q.seq++
		it = &item{pod: p, seq: q.seq, since: time.Now()}
		q.items[p.UID] = it
		q.push(it, active)
		return
	}
	respecified := !equality.Semantic.DeepEqual(it.pod.Spec, p.Spec)
	it.pod = p
	switch {
	case !respecified:
	case it.where == active:
		// Its priority may have changed.
		heap.Fix(&q.active, it.index)
	case it.where == busy:
		it.changed = true
	default:
		q.activate(it)
	}
}

// remove forgets the pod.
func (q *queue) remove(uid types.UID) {
	it := q.items[uid]
	if it == nil {
		return
	}
	q.unlink(it)
	delete(q.items, uid)
}

// pop takes out the next pod, which is busy until park or remove; nil if there
// is none now. Parked pods whose time has come are counted in.
func (q *queue) pop(now time.Time) *item {
	for q.parked.Len() > 0 && !q.parked.items[0].due.After(now) {
		q.activate(q.parked.items[0])
	}
	if q.active.Len() == 0 {
		return nil
	}
	it := q.active.items[0]
	q.unlink(it)
	q.push(it, busy)
	it.changed = false
	return it
}

// next returns when the first parked pod is due; zero if none is parked.
func (q *queue) next() time.Time {
	if q.parked.Len() == 0 {
		return time.Time{}
	}
	return q.parked.items[0].due
}

// park puts a busy pod aside until due. For an unschedulable one a change ends
// the wait, also a change that came while it was busy.
func (q *queue) park(it *item, due time.Time, unschedulable bool) {
	if q.items[it.pod.UID] != it {
		return // removed meanwhile
	}
	it.due, it.unschedulable = due, unschedulable
	q.unlink(it)
	if it.changed && unschedulable {
		q.push(it, active)
		return
	}
	q.push(it, parked)
}

// wake makes those unschedulable pods active for which helps says true. Busy
// ones are tried again after they have been written.
func (q *queue) wake(helps func(*corev1.Pod) bool) {
	for _, it := range q.hopeless {
		if helps(it.pod) {
			q.activate(it)
		}
	}
	for _, it := range q.busy {
		it.changed = it.changed || helps(it.pod)
	}
}

func (q *queue) activate(it *item) {
	q.unlink(it)
	q.push(it, active)
}

func (q *queue) push(it *item, where place) {
	it.where = where
	switch where {
	case active:
		heap.Push(&q.active, it)
	case parked:
		heap.Push(&q.parked, it)
		if it.unschedulable {
			q.hopeless[it.pod.UID] = it
		}
	case busy:
		q.busy[it.pod.UID] = it
	}
}

func (q *queue) unlink(it *item) {
	switch it.where {
	case active:
		heap.Remove(&q.active, it.index)
	case parked:
		heap.Remove(&q.parked, it.index)
		delete(q.hopeless, it.pod.UID)
	case busy:
		delete(q.busy, it.pod.UID)
	}
}

// itemHeap implements heap.Interface.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h *itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

// Push implements heap.Interface.
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(h.items)
	h.items = append(h.items, it)
}

// Pop implements heap.Interface.
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	it := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return it
}
