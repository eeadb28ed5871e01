package ctrd

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// watcher passes changes on to one reader. A slow reader holds up nobody: what
// it has not read yet is kept once per pod.
type watcher struct {
	mu      sync.Mutex
	pending map[types.UID]struct{}
	wake    chan struct{}
	broken  chan struct{}
}

func newWatcher() *watcher {
	return &watcher{
		pending: map[types.UID]struct{}{},
		wake:    make(chan struct{}, 1),
		broken:  make(chan struct{}),
	}
}

func (w *watcher) add(uid types.UID) {
	w.mu.Lock()
	w.pending[uid] = struct{}{}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) take() []types.UID {
	w.mu.Lock()
	defer w.mu.Unlock()
	uids := make([]types.UID, 0, len(w.pending))
	for uid := range w.pending {
		uids = append(uids, uid)
	}
	clear(w.pending)
	return uids
}

// pump sends until ctx ends or the subscription breaks, then closes to.
func (w *watcher) pump(ctx context.Context, to chan<- pod.Change) {
	defer close(to)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.broken:
			return
		case <-w.wake:
		}
		for _, uid := range w.take() {
			select {
			case to <- pod.Change{UID: uid}:
			case <-ctx.Done():
				return
			case <-w.broken:
				return
			}
		}
	}
}

// watch registers a watcher if the picture is true.
func (s *state) watch(ctx context.Context) (<-chan pod.Change, error) {
	for {
		if err := s.await(ctx); err != nil {
			return nil, err
		}
		w := newWatcher()
		s.mu.Lock()
		ready := s.ready
		if ready {
			s.watchers[w] = struct{}{}
		}
		s.mu.Unlock()
		if !ready {
			continue
		}
		to := make(chan pod.Change)
		go func() {
			w.pump(ctx, to)
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.watchers, w)
		}()
		return to, nil
	}
}
