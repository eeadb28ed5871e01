package agent

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

var (
	errNotListed   = errors.New("the runtime has not been listed yet")
	errWatchBroken = errors.New("the runtime's subscription broke")
)

// Bounds of the runtime view. A list takes as long as the runtime takes to
// answer for every attempt on the node.
const (
	listTime        = 30 * time.Second
	relistDefault   = time.Minute
	watchRetryFirst = 200 * time.Millisecond
	watchRetryLast  = 5 * time.Second
)

// view is what the agent knows of the runtime: the attempts by pod, kept up
// to date by the runtime's changes and by listing from time to time. While the
// runtime does not answer it answers with that error, so that nobody plans
// from what may be wrong.
type view struct {
	src pod.RuntimeView
	log *zap.Logger
	// adopt sees every list before anybody else does.
	adopt func(ctx context.Context, attempts []pod.Attempt)
	// changed tells that a pod's attempts changed; an empty UID: any pod's.
	changed func(uid types.UID)
	relist  time.Duration
	kick    chan struct{}
	listed  chan struct{} // closed after the first list
	once    sync.Once

	mu      sync.Mutex
	byUID   map[types.UID][]pod.Attempt
	stamps  map[types.UID]uint64 // when byUID's entry was asked for, in seq
	seq     uint64
	err     error
	waiters []chan error
}

func newView(src pod.RuntimeView, log *zap.Logger) *view {
	return &view{
		src: src, log: log, relist: relistDefault,
		kick:   make(chan struct{}, 1),
		listed: make(chan struct{}),
		byUID:  map[types.UID][]pod.Attempt{},
		stamps: map[types.UID]uint64{},
		err:    errNotListed,
	}
}

// cached returns a pod's attempts as last seen.
func (v *view) cached(uid types.UID) ([]pod.Attempt, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byUID[uid], v.err
}

// all returns every pod's attempts as last seen.
func (v *view) all() (map[types.UID][]pod.Attempt, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make(map[types.UID][]pod.Attempt, len(v.byUID))
	for uid, list := range v.byUID {
		out[uid] = list
	}
	return out, v.err
}

// refreshPod returns when a look at the pod's attempts that began after the
// call has been taken in.
func (v *view) refreshPod(ctx context.Context, uid types.UID) error {
	if _, err := v.cached(uid); err != nil {
		return err
	}
	return v.listOne(ctx, uid)
}

// refreshAll returns when a list that began after the call has been taken in.
func (v *view) refreshAll(ctx context.Context) error {
	done := make(chan error, 1)
	v.mu.Lock()
	if v.err != nil {
		defer v.mu.Unlock()
		return v.err
	}
	v.waiters = append(v.waiters, done)
	v.mu.Unlock()
	select {
	case v.kick <- struct{}{}:
	default:
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitList waits for the first list, for the given time at most.
func (v *view) awaitList(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-v.listed:
	case <-t.C:
		v.log.Warn("the runtime does not answer; going on without it")
	case <-ctx.Done():
	}
}

// run keeps the view until ctx ends.
func (v *view) run(ctx context.Context) {
	retry := watchRetryFirst
	for ctx.Err() == nil {
		listed, err := v.session(ctx)
		if listed {
			retry = watchRetryFirst
		}
		v.fail(err)
		if ctx.Err() != nil {
			return
		}
		v.log.Warn("the runtime cannot be watched", zap.Error(err), zap.Duration("retry", retry))
		t := time.NewTimer(retry)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
		retry = min(2*retry, watchRetryLast)
	}
}

// session watches and lists until something breaks. listed says whether it
// got as far as a list.
func (v *view) session(ctx context.Context) (listed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := v.src.Watch(ctx)
	if err != nil {
		return false, err
	}
	if err := v.list(ctx); err != nil {
		return false, err
	}
	t := time.NewTicker(v.relist)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case c, ok := <-changes:
			if !ok {
				return true, errWatchBroken
			}
			err = v.refresh(ctx, c, changes)
		case <-v.kick:
			err = v.list(ctx)
		case <-t.C:
			err = v.list(ctx)
		}
		if err != nil {
			return true, err
		}
	}
}

// refresh takes in a change, together with those that wait behind it.
func (v *view) refresh(ctx context.Context, first pod.Change, more <-chan pod.Change) error {
	uids := map[types.UID]struct{}{first.UID: {}}
	for n := len(more); n > 0; n-- {
		c, ok := <-more
		if !ok {
			return errWatchBroken
		}
		uids[c.UID] = struct{}{}
	}
	if _, any := uids[""]; any {
		return v.list(ctx)
	}
	for uid := range uids {
		if err := v.listOne(ctx, uid); err != nil {
			return err
		}
	}
	return nil
}

// list takes in all attempts.
func (v *view) list(ctx context.Context) error {
	v.mu.Lock()
	v.seq++
	seq, waiters := v.seq, v.waiters
	v.waiters = nil
	v.mu.Unlock()

	lctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	attempts, err := v.src.List(lctx)
	if err == nil {
		v.adopt(ctx, attempts)
		v.store(seq, attempts)
		v.once.Do(func() { close(v.listed) })
	}
	for _, w := range waiters {
		w <- err
	}
	return err
}

// listOne takes in one pod's attempts.
func (v *view) listOne(ctx context.Context, uid types.UID) error {
	v.mu.Lock()
	v.seq++
	seq := v.seq
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	attempts, err := v.src.ListPod(ctx, uid)
	if err != nil {
		return err
	}
	v.mu.Lock()
	changed := v.put(uid, seq, attempts)
	v.mu.Unlock()
	if changed {
		v.changed(uid)
	}
	return nil
}

func (v *view) store(seq uint64, attempts []pod.Attempt) {
	by := map[types.UID][]pod.Attempt{}
	for _, a := range attempts {
		by[a.Pod.UID] = append(by[a.Pod.UID], a)
	}
	v.mu.Lock()
	back := v.err != nil
	v.err = nil
	var changed []types.UID
	for uid := range v.byUID {
		if _, ok := by[uid]; !ok && v.put(uid, seq, nil) {
			changed = append(changed, uid)
		}
	}
	for uid, list := range by {
		if v.put(uid, seq, list) {
			changed = append(changed, uid)
		}
	}
	for uid := range v.stamps {
		if _, ok := v.byUID[uid]; !ok && v.stamps[uid] <= seq {
			delete(v.stamps, uid)
		}
	}
	v.mu.Unlock()
	if back {
		v.changed("")
		return
	}
	for _, uid := range changed {
		v.changed(uid)
	}
}

// put replaces a pod's attempts unless a later look is there already, and says
// whether they differ. The caller holds mu.
func (v *view) put(uid types.UID, seq uint64, list []pod.Attempt) bool {
	if v.stamps[uid] > seq {
		return false
	}
	v.stamps[uid] = seq
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b pod.Attempt) int { return cmp.Compare(a.ID, b.ID) })
	if len(list) == 0 {
		_, had := v.byUID[uid]
		delete(v.byUID, uid)
		return had
	}
	if reflect.DeepEqual(v.byUID[uid], list) {
		return false
	}
	v.byUID[uid] = list
	return true
}

// fail makes err the answer until the next list.
func (v *view) fail(err error) {
	v.mu.Lock()
	v.err = err
	waiters := v.waiters
	v.waiters = nil
	v.mu.Unlock()
	for _, w := range waiters {
		w <- err
	}
}
