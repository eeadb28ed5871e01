package podtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// Runtime is a fake of pod.Runtime and pod.RuntimeView. What it holds survives
// a restart of the agent, as containers do. Processes end by timers, so that
// time in a synctest bubble carries them.
type Runtime struct {
	// Faults script "Runtime.Create", ".Start", ".Signal" and ".Remove",
	// "View.List", "View.ListPod" and "View.Watch".
	Faults *Faults
	// Program says what an attempt does; nil: Interpret.
	Program func(pod.CreateRequest) Program

	clock    pod.Clock
	images   *Images
	mu       sync.Mutex
	attempts map[string]*process
	watchers map[chan pod.Change]struct{}
	lastPID  int
}

type process struct {
	pod.Attempt
	request pod.CreateRequest
	program Program
	timer   *time.Timer
}

// NewRuntime returns an empty runtime. Images must hold an image before an
// attempt can be made of it.
func NewRuntime(clock pod.Clock, images *Images, f *Faults) *Runtime {
	return &Runtime{
		Faults: f, clock: clock, images: images,
		attempts: map[string]*process{}, watchers: map[chan pod.Change]struct{}{}, lastPID: 1000,
	}
}

// Create implements pod.Runtime.
func (r *Runtime) Create(ctx context.Context, req pod.CreateRequest) (string, error) {
	id := fmt.Sprintf("%s-%s-%d", req.Pod.UID, req.Container, req.Number)
	err := r.Faults.run(ctx, "Runtime.Create", func() error {
		img, found, err := r.images.Present(ctx, req.ImageName)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("image %s: %w", req.ImageName, pod.ErrNotFound)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.attempts[id] != nil {
			return nil
		}
		run := r.Program
		if run == nil {
			run = Interpret
		}
		r.lastPID++
		r.attempts[id] = &process{request: req, program: run(req), Attempt: pod.Attempt{
			Pod: req.Pod, Container: req.Container, Init: req.Init, Number: req.Number, Streak: req.Streak,
			ID: id, SpecHash: req.SpecHash, Applied: req.Applied, ImageName: req.ImageName, ImageID: img.ID,
			State: pod.AttemptCreated, CreatedAt: r.clock(), PID: r.lastPID,
		}}
		r.tell(req.Pod.UID)
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// Start implements pod.Runtime.
func (r *Runtime) Start(ctx context.Context, id string) error {
	return r.Faults.run(ctx, "Runtime.Start", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.attempts[id]
		if p == nil {
			return fmt.Errorf("attempt %s: %w", id, pod.ErrNotFound)
		}
		switch p.State {
		case pod.AttemptRunning:
			return nil
		case pod.AttemptExited:
			if p.Exit.StartError != "" {
				return fmt.Errorf("start %s: %s", id, p.Exit.StartError)
			}
			return nil
		}
		if e := p.program.StartError; e != "" {
			r.end(p, pod.Exit{Code: 128, StartError: e})
			return fmt.Errorf("start %s: %s", id, e)
		}
		p.State, p.StartedAt = pod.AttemptRunning, r.clock()
		write(p.request.Stdout, p.program.Stdout)
		write(p.request.Stderr, p.program.Stderr)
		if p.program.Lasts >= 0 {
			r.later(p, p.program.Lasts, pod.Exit{Code: p.program.Code, OOMKilled: p.program.OOMKilled})
		}
		r.tell(p.Pod.UID)
		return nil
	})
}

// write is best effort: a test without pipes has nobody to read.
func write(path, s string) {
	if path == "" || s == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	_, _ = f.WriteString(s)
	_ = f.Close()
}

// Signal implements pod.Runtime.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return r.Faults.run(ctx, "Runtime.Signal", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := r.attempts[id]
		if p == nil || p.State == pod.AttemptExited {
			return nil
		}
		switch {
		case sig == syscall.SIGKILL:
			r.end(p, pod.Exit{Code: 128 + int(sig), Signal: int(sig)})
		case sig == syscall.SIGTERM && !p.program.IgnoresTerm && p.State == pod.AttemptRunning:
			r.later(p, p.program.TermTakes, pod.Exit{Code: p.program.TermCode})
		}
		return nil
	})
}

// Remove implements pod.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	return r.Faults.run(ctx, "Runtime.Remove", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p := r.attempts[id]; p != nil {
			stopTimer(p)
			delete(r.attempts, id)
			r.tell(p.Pod.UID)
		}
		return nil
	})
}

// List implements pod.RuntimeView.
func (r *Runtime) List(ctx context.Context) ([]pod.Attempt, error) {
	return r.listed(ctx, "View.List", func(pod.Attempt) bool { return true })
}

// ListPod implements pod.RuntimeView.
func (r *Runtime) ListPod(ctx context.Context, uid types.UID) ([]pod.Attempt, error) {
	return r.listed(ctx, "View.ListPod", func(a pod.Attempt) bool { return a.Pod.UID == uid })
}

func (r *Runtime) listed(ctx context.Context, as string, want func(pod.Attempt) bool) ([]pod.Attempt, error) {
	var l []pod.Attempt
	err := r.Faults.run(ctx, as, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range slices.Sorted(maps.Keys(r.attempts)) {
			a := r.attempts[id].Attempt
			if !want(a) {
				continue
			}
			if a.Exit != nil {
				exit := *a.Exit
				a.Exit = &exit
			}
			l = append(l, a)
		}
		return nil
	})
	return l, err
}

// Watch implements pod.RuntimeView.
func (r *Runtime) Watch(ctx context.Context) (<-chan pod.Change, error) {
	c := make(chan pod.Change, 64)
	err := r.Faults.run(ctx, "View.Watch", func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.watchers[c] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.drop(c)
	})
	return c, nil
}

// tell is called with the lock held. Who does not read loses changes.
func (r *Runtime) tell(uid types.UID) {
	for c := range r.watchers {
		select {
		case c <- pod.Change{UID: uid}:
		default:
		}
	}
}

func (r *Runtime) drop(c chan pod.Change) {
	if _, open := r.watchers[c]; open {
		delete(r.watchers, c)
		close(c)
	}
}

// later ends the process after d; the lock is held.
func (r *Runtime) later(p *process, d time.Duration, e pod.Exit) {
	stopTimer(p)
	if d <= 0 {
		r.end(p, e)
		return
	}
	p.timer = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.end(p, e)
	})
}

func stopTimer(p *process) {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// end records the end of a process; the lock is held.
func (r *Runtime) end(p *process, e pod.Exit) {
	if p.State == pod.AttemptExited {
		return
	}
	stopTimer(p)
	if e.FinishedAt.IsZero() {
		e.FinishedAt = r.clock()
	}
	p.State, p.Exit, p.PID = pod.AttemptExited, &e, 0
	r.tell(p.Pod.UID)
}

// Exit ends an attempt that lives, as if it had ended by itself. It says
// whether there was one.
func (r *Runtime) Exit(id string, e pod.Exit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.attempts[id]
	if p == nil || p.State == pod.AttemptExited {
		return false
	}
	r.end(p, e)
	return true
}

// Reboot ends everything unseen and breaks the watches.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.attempts {
		r.end(p, pod.Exit{Code: 137, Lost: true})
	}
	for c := range r.watchers {
		r.drop(c)
	}
}

// BreakWatches closes every watch, as when the runtime's daemon restarts.
func (r *Runtime) BreakWatches() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.watchers {
		r.drop(c)
	}
}
