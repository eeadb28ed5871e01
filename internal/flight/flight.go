// Package flight makes callers that want the same thing share one run that gets
// it. Unlike others of its kind it breaks the run off when nobody wants it any
// more, and not when its first caller has gone.
package flight

import (
	"context"
	"sync"
)

// Group is a set of runs, by key. The zero value is ready for use.
type Group[T any] struct {
	// ToTheEnd has the last caller that gives up wait until the run that it
	// breaks off is over.
	ToTheEnd bool

	mu   sync.Mutex
	open map[string]*flight[T]
}

// Run gets what is wanted until its context ends, and may tell of its progress.
type Run[T any] func(ctx context.Context, tell func(string)) (T, error)

// flight is one run and those who wait for it. It goes on for as long as one of
// them does.
type flight[T any] struct {
	mu        sync.Mutex
	waiting   int
	listeners map[int]func(string)
	next      int
	last      string

	cancel context.CancelFunc
	done   chan struct{}
	got    T
	err    error
}

// Do carries out run for key, or joins the one that is under way. progress may
// be nil; it is called from any goroutine, and never after Do has returned.
func (g *Group[T]) Do(ctx context.Context, key string, progress func(string), run Run[T]) (T, error) {
	fl, id := g.join(ctx, key, progress, run)
	select {
	case <-fl.done:
		g.leave(key, fl, id)
		return fl.got, fl.err
	case <-ctx.Done():
		if g.leave(key, fl, id) && g.ToTheEnd {
			<-fl.done
		}
		var none T
		return none, ctx.Err()
	}
}

// Waiting is how many callers wait at this moment.
func (g *Group[T]) Waiting() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, fl := range g.open {
		fl.mu.Lock()
		n += fl.waiting
		fl.mu.Unlock()
	}
	return n
}

func (g *Group[T]) join(ctx context.Context, key string, progress func(string), run Run[T]) (*flight[T], int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = map[string]*flight[T]{}
	}
	fl := g.open[key]
	if fl == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight[T]{listeners: map[int]func(string){}, cancel: cancel, done: make(chan struct{})}
		g.open[key] = fl
		go func() {
			defer cancel()
			fl.got, fl.err = run(own, fl.tell)
			g.mu.Lock()
			g.remove(key, fl)
			g.mu.Unlock()
			close(fl.done)
		}()
	}
	return fl, fl.add(progress)
}

func (g *Group[T]) leave(key string, fl *flight[T], id int) (last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.listeners, id)
	if fl.waiting--; fl.waiting > 0 {
		return false
	}
	fl.cancel()
	// Whoever comes now must not join one that is being broken off.
	g.remove(key, fl)
	return true
}

// remove lets whoever comes from now on begin anew. The lock is held.
func (g *Group[T]) remove(key string, fl *flight[T]) {
	if g.open[key] == fl {
		delete(g.open, key)
	}
}

func (fl *flight[T]) add(progress func(string)) int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.waiting++
	fl.next++
	if progress != nil {
		fl.listeners[fl.next] = progress
		if fl.last != "" {
			progress(fl.last)
		}
	}
	return fl.next
}

// tell passes a progress text on. It holds the lock so that nobody is told
// anything after their call has returned.
func (fl *flight[T]) tell(text string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.last = text
	for _, progress := range fl.listeners {
		progress(text)
	}
}
