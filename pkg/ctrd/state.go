package ctrd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// entry is what is known about one attempt.
type entry struct {
	attempt pod.Attempt
	// image is the normalised reference, cgroup the OCI cgroups path.
	image, cgroup string
	// pipes are the paths of the attempt's FIFOs.
	pipes []string
	boot  string
	// started: its start was recorded, or seen.
	started bool
	// gone: its task is known to be deleted.
	gone bool
	// plain: its process is one of this kernel, which may be signalled.
	plain bool
	// oom: containerd told of a kill for memory.
	oom bool
}

// state is the in-memory picture of the instance's attempts. It is true while
// the subscription to containerd's events stands (ready), and says so.
type state struct {
	mu      sync.Mutex
	ready   bool
	err     error
	changed chan struct{}
	entries map[string]*entry
	// touched is when an entry was last written or removed, in ticks of
	// clock: a listing that began earlier does not overrule it.
	touched  map[string]uint64
	clock    uint64
	watchers map[*watcher]struct{}
}

var errConnecting = errors.New("not connected yet")

func newState() *state {
	return &state{
		changed:  make(chan struct{}),
		entries:  map[string]*entry{},
		touched:  map[string]uint64{},
		watchers: map[*watcher]struct{}{},
	}
}

// await returns when the picture is true, and an error that wraps
// pod.ErrUnavailable when it is known not to be.
func (s *state) await(ctx context.Context) error {
	for {
		s.mu.Lock()
		ready, err, changed := s.ready, s.err, s.changed
		s.mu.Unlock()
		if ready {
			return nil
		}
		if err != nil {
			return unavailable(err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return unavailable(fmt.Errorf("%w: %w", errConnecting, ctx.Err()))
		}
	}
}

func unavailable(err error) error {
	if errors.Is(err, pod.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("containerd: %w: %w", pod.ErrUnavailable, err)
}

func (s *state) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *state) setReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.err = true, nil
	close(s.changed)
	s.changed = make(chan struct{})
}

// setBroken ends every watch: what happens from now on will not be told.
func (s *state) setBroken(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.err = false, err
	close(s.changed)
	s.changed = make(chan struct{})
	for w := range s.watchers {
		close(w.broken)
	}
	clear(s.watchers)
}

func (s *state) list() []pod.Attempt {
	return s.listed(func(pod.Attempt) bool { return true })
}

func (s *state) listPod(uid types.UID) []pod.Attempt {
	return s.listed(func(a pod.Attempt) bool { return a.Pod.UID == uid })
}

// listed returns copies of the attempts that are wanted, by ID.
func (s *state) listed(want func(pod.Attempt) bool) []pod.Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	var some []pod.Attempt
	for _, e := range s.entries {
		if !want(e.attempt) {
			continue
		}
		a := e.attempt
		if a.Exit != nil {
			exit := *a.Exit
			a.Exit = &exit
		}
		some = append(some, a)
	}
	slices.SortFunc(some, func(a, b pod.Attempt) int { return strings.Compare(a.ID, b.ID) })
	return some
}

func (s *state) get(id string) (entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil {
		return entry{}, false
	}
	return *e, true
}

// put stores an entry and tells the watchers.
func (s *state) put(e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[e.attempt.ID] = &e
	s.touch(e.attempt.ID, e.attempt.Pod.UID)
}

// update changes an entry in place, if it is there, and tells the watchers.
func (s *state) update(id string, change func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[id]; e != nil {
		change(e)
		s.touch(id, e.attempt.Pod.UID)
	}
}

func (s *state) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var uid types.UID
	if e := s.entries[id]; e != nil {
		uid = e.attempt.Pod.UID
	}
	delete(s.entries, id)
	s.touch(id, uid)
}

func (s *state) touch(id string, uid types.UID) {
	s.clock++
	s.touched[id] = s.clock
	for w := range s.watchers {
		w.add(uid)
	}
}

// mark returns the present tick; see merge.
func (s *state) mark() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock
}

// merge replaces the picture by a listing that began at tick since, except
// where something was done in the meantime or is being done (busy).
func (s *state) merge(listed map[string]entry, since uint64, busy func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	newer := func(id string) bool { return s.touched[id] > since || busy(id) }
	for id, e := range listed {
		if newer(id) {
			continue
		}
		if old := s.entries[id]; old != nil {
			e.oom = e.oom || old.oom
		}
		s.entries[id] = &e
	}
	for id := range s.entries {
		if _, ok := listed[id]; !ok && !newer(id) {
			delete(s.entries, id)
		}
	}
	for id, tick := range s.touched {
		if tick <= since {
			delete(s.touched, id)
		}
	}
	for w := range s.watchers {
		w.add("")
	}
}

// usesImage tells whether an attempt was made from an image.
func (s *state) usesImage(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.image == name {
			return true
		}
	}
	return false
}

// running is the change of an entry whose process runs.
func running(pid int, at time.Time) func(*entry) {
	return func(e *entry) {
		if e.attempt.State == pod.AttemptExited {
			return
		}
		e.attempt.State = pod.AttemptRunning
		e.started = true
		if pid != 0 {
			e.attempt.PID = pid
		}
		if e.attempt.StartedAt.IsZero() {
			e.attempt.StartedAt = at
		}
	}
}

// exited is the change of an entry whose exit is recorded.
func exited(x exitRecord) func(*entry) {
	return func(e *entry) {
		e.attempt.State = pod.AttemptExited
		e.attempt.Exit = x.exit()
		e.attempt.PID = 0
		if !x.StartedAt.IsZero() {
			e.attempt.StartedAt = x.StartedAt
		}
	}
}
