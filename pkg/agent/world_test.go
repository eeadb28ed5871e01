package agent_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

// world is everything on a node that outlives an agent: containers, sandboxes,
// volumes, images. Each operation takes opTime, and half of it comes before
// its effect, so that an agent can be dropped before and after.
type world struct {
	mu       sync.Mutex
	attempts map[string]*pod.Attempt
	sandbox  map[types.UID]*pod.Sandbox
	volumes  map[types.UID]bool
	hosts    map[types.UID][]string
	images   map[string]bool
	watchers map[chan pod.Change]struct{}
	copying  map[agent.LogKey]bool
	calls    map[string]int
	starts   []time.Time
	kept     map[types.UID]bool // asked about by a collector
	nextPID  int
	nextIP   int
	usage    map[string]int64
	limits   map[string]pod.Resources // by attempt, and by UID of the pod
	memory   map[string]int64         // in use
	resizes  []string                 // whose limits were set, in order
	bound    pod.Resources
	shelf    []eviction.StoredImage
	execs    map[string]func(context.Context) ([]byte, int, error)

	// away: the runtime does not answer.
	away bool
	// faults fail an operation as long as they return an error.
	faults map[string]func() error
	// life is what a started attempt does: it ends with code after d; a zero
	// d: it runs on. deaf: it ignores SIGTERM.
	life func(a pod.Attempt) (d time.Duration, code int)
	deaf bool
}

const opTime = 10 * time.Millisecond

func newWorld() *world {
	return &world{
		attempts: map[string]*pod.Attempt{}, sandbox: map[types.UID]*pod.Sandbox{},
		volumes: map[types.UID]bool{}, hosts: map[types.UID][]string{},
		images: map[string]bool{"img": true}, watchers: map[chan pod.Change]struct{}{},
		limits: map[string]pod.Resources{}, memory: map[string]int64{},
		copying: map[agent.LogKey]bool{}, calls: map[string]int{}, faults: map[string]func() error{},
		kept: map[types.UID]bool{}, usage: map[string]int64{},
		execs: map[string]func(context.Context) ([]byte, int, error){}, nextPID: 100, nextIP: 1,
		life: func(pod.Attempt) (time.Duration, int) { return 0, 0 },
	}
}

// do carries an operation out: wait, effect, wait. The context may end it
// before its effect or after.
func (w *world) do(ctx context.Context, op string, needsRuntime bool, effect func() error) error {
	w.mu.Lock()
	w.calls[op]++
	away, fault := w.away && needsRuntime, w.faults[op]
	w.mu.Unlock()
	if away {
		return fmt.Errorf("%s: %w", op, pod.ErrUnavailable)
	}
	if fault != nil {
		if err := fault(); err != nil {
			return err
		}
	}
	if err := pause(ctx, opTime/2); err != nil {
		return err
	}
	w.mu.Lock()
	err := effect()
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return pause(ctx, opTime/2)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (w *world) tell(uid types.UID) {
	for c := range w.watchers {
		select {
		case c <- pod.Change{UID: uid}:
		default:
		}
	}
}

func (w *world) Create(ctx context.Context, r pod.CreateRequest) (string, error) {
	id := fmt.Sprintf("%s-%s-%d", r.Pod.UID, r.Container, r.Number)
	return id, w.do(ctx, "create", true, func() error {
		if !w.copying[agent.LogKey{Pod: r.Pod, Container: r.Container, Number: r.Number}] {
			return fmt.Errorf("nobody reads the pipes of %s", id)
		}
		if w.attempts[id] == nil {
			w.nextPID++
			w.attempts[id] = &pod.Attempt{
				Pod: r.Pod, Container: r.Container, Init: r.Init, Number: r.Number, Streak: r.Streak,
				ID: id, SpecHash: r.SpecHash, Applied: r.Applied, ImageName: r.ImageName, CreatedAt: time.Now(), PID: w.nextPID,
			}
			w.tell(r.Pod.UID)
		}
		return nil
	})
}

func (w *world) Start(ctx context.Context, id string) error {
	return w.do(ctx, "start", true, func() error {
		a := w.attempts[id]
		if a == nil || a.State == pod.AttemptExited {
			return fmt.Errorf("%s: %w", id, pod.ErrNotFound)
		}
		if a.State == pod.AttemptRunning {
			return nil
		}
		if len(w.hosts[a.Pod.UID]) == 0 {
			return fmt.Errorf("%s starts without an IP in its hosts file", id)
		}
		a.State, a.StartedAt = pod.AttemptRunning, time.Now()
		w.starts = append(w.starts, a.StartedAt)
		w.tell(a.Pod.UID)
		if d, code := w.life(*a); d > 0 {
			time.AfterFunc(d, func() { w.exit(id, code, 0) })
		}
		return nil
	})
}

// exit ends an attempt that runs.
func (w *world) exit(id string, code, signal int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exitLocked(id, code, signal)
}

func (w *world) exitLocked(id string, code, signal int) {
	a := w.attempts[id]
	if a == nil || a.State != pod.AttemptRunning {
		return
	}
	a.State, a.PID = pod.AttemptExited, 0
	a.Exit = &pod.Exit{Code: code, Signal: signal, FinishedAt: time.Now()}
	w.tell(a.Pod.UID)
}

func (w *world) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return w.do(ctx, "signal "+sig.String(), true, func() error {
		if sig == syscall.SIGTERM && w.deaf {
			return nil
		}
		w.exitLocked(id, 128+int(sig), int(sig))
		return nil
	})
}

func (w *world) Remove(ctx context.Context, id string) error {
	return w.do(ctx, "remove", true, func() error {
		if a := w.attempts[id]; a != nil {
			delete(w.attempts, id)
			w.tell(a.Pod.UID)
		}
		return nil
	})
}

func (w *world) List(context.Context) ([]pod.Attempt, error) {
	return w.listed(func(*pod.Attempt) bool { return true })
}

func (w *world) ListPod(_ context.Context, uid types.UID) ([]pod.Attempt, error) {
	return w.listed(func(a *pod.Attempt) bool { return a.Pod.UID == uid })
}

func (w *world) listed(want func(*pod.Attempt) bool) ([]pod.Attempt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls["list"]++
	if w.away {
		return nil, pod.ErrUnavailable
	}
	var out []pod.Attempt
	for _, a := range w.attempts {
		if want(a) {
			out = append(out, *a)
		}
	}
	return out, nil
}

func (w *world) Watch(ctx context.Context) (<-chan pod.Change, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls["watch"]++
	if w.away {
		return nil, pod.ErrUnavailable
	}
	c := make(chan pod.Change, 100)
	w.watchers[c] = struct{}{}
	context.AfterFunc(ctx, func() { w.drop(c) })
	return c, nil
}

func (w *world) drop(c chan pod.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.watchers[c]; ok {
		delete(w.watchers, c)
		close(c)
	}
}

// setAway takes the runtime away, which breaks subscriptions, or back.
func (w *world) setAway(away bool) {
	w.mu.Lock()
	w.away = away
	var cs []chan pod.Change
	for c := range w.watchers {
		cs = append(cs, c)
	}
	w.mu.Unlock()
	for _, c := range cs {
		w.drop(c)
	}
}

func (w *world) Present(_ context.Context, ref string) (pod.Image, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return pod.Image{Name: ref, ID: "sha256:" + ref}, w.images[ref], nil
}

func (w *world) Pull(ctx context.Context, ref string, o pod.PullOptions) (pod.Image, error) {
	err := w.do(ctx, "pull", true, func() error { w.images[ref] = true; return nil })
	o.Progress("half of it")
	return pod.Image{Name: ref, ID: "sha256:" + ref, Size: 42}, err
}

// live returns the attempts of a pod that have not ended.
func (w *world) live(uid types.UID) []pod.Attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []pod.Attempt
	for _, a := range w.attempts {
		if a.Pod.UID == uid && a.State != pod.AttemptExited {
			out = append(out, *a)
		}
	}
	slices.SortFunc(out, func(a, b pod.Attempt) int { return a.PID - b.PID })
	return out
}

// remains names what there is of a pod.
func (w *world) remains(uid types.UID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for id, a := range w.attempts {
		if a.Pod.UID == uid {
			out = append(out, id)
		}
	}
	if w.sandbox[uid] != nil {
		out = append(out, "sandbox")
	}
	if w.volumes[uid] {
		out = append(out, "volumes")
	}
	for k := range w.copying {
		if k.Pod.UID == uid {
			out = append(out, "log of "+k.Container)
		}
	}
	return out
}

func (w *world) count(op string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[op]
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}
