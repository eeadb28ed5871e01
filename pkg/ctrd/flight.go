package ctrd

import (
	"context"
	"sync"

	"github.com/carob-project/carob/pkg/pod"
)

// flights makes callers that want the same image share one pull. The zero
// value is ready for use.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

// flight is one pull and those who wait for it. It goes on for as long as one
// of them does.
type flight struct {
	mu        sync.Mutex
	waiting   int
	listeners map[int]func(string)
	next      int
	last      string

	cancel context.CancelFunc
	done   chan struct{}
	img    pod.Image
	err    error
}

// do runs pull for key, or joins the one that runs. progress may be nil.
func (f *flights) do(ctx context.Context, key string, progress func(string), pull func(context.Context, func(string)) (pod.Image, error)) (pod.Image, error) {
	fl, id := f.join(ctx, key, progress, pull)
	defer f.leave(key, fl, id)
	select {
	case <-fl.done:
		return fl.img, fl.err
	case <-ctx.Done():
		return pod.Image{}, ctx.Err()
	}
}

func (f *flights) join(ctx context.Context, key string, progress func(string), pull func(context.Context, func(string)) (pod.Image, error)) (*flight, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[string]*flight{}
	}
	fl := f.open[key]
	if fl == nil {
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{listeners: map[int]func(string){}, cancel: cancel, done: make(chan struct{})}
		f.open[key] = fl
		go func() {
			defer cancel()
			fl.img, fl.err = pull(pctx, fl.tell)
			f.mu.Lock()
			if f.open[key] == fl {
				delete(f.open, key)
			}
			f.mu.Unlock()
			close(fl.done)
		}()
	}
	return fl, fl.add(progress)
}

func (f *flights) leave(key string, fl *flight, id int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.mu.Lock()
	defer fl.mu.Unlock()
	delete(fl.listeners, id)
	if fl.waiting--; fl.waiting > 0 {
		return
	}
	fl.cancel()
	// Whoever comes now must not join a pull that is being broken off.
	if f.open[key] == fl {
		delete(f.open, key)
	}
}

func (fl *flight) add(progress func(string)) int {
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
func (fl *flight) tell(text string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.last = text
	for _, progress := range fl.listeners {
		progress(text)
	}
}
