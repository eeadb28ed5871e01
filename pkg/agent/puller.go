package agent

import (
	"context"
	"sync"

	"github.com/carob-project/carob/pkg/pod"
)

// puller pulls images: a bounded number at a time, and one reference only once
// however many pods wait for it. A pull that nobody waits for any more is
// given up.
type puller struct {
	images pod.Images
	turns  turns

	mu    sync.Mutex
	calls map[string]*pullCall
}

type pullCall struct {
	done   chan struct{}
	cancel context.CancelFunc
	image  pod.Image
	err    error

	// The puller's mu guards these.
	waiting  int
	progress map[int]func(string)
	next     int
}

func newPuller(images pod.Images, n int) *puller {
	return &puller{images: images, turns: make(turns, n), calls: map[string]*pullCall{}}
}

// pull pulls ref, or waits for the pull that is under way. progress is called
// from any goroutine.
func (p *puller) pull(ctx context.Context, ref string, progress func(string)) (pod.Image, error) {
	c, id := p.join(ctx, ref, progress)
	select {
	case <-c.done:
		p.leave(ref, c, id)
		return c.image, c.err
	case <-ctx.Done():
		p.leave(ref, c, id)
		return pod.Image{}, ctx.Err()
	}
}

func (p *puller) join(ctx context.Context, ref string, progress func(string)) (*pullCall, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[ref]
	if c == nil {
		// The pull belongs to all who wait, not to the first of them; the
		// last one to leave ends it.
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		c = &pullCall{done: make(chan struct{}), cancel: cancel, progress: map[int]func(string){}}
		p.calls[ref] = c
		go p.carry(pctx, ref, c)
	}
	id := c.next
	c.next++
	c.waiting++
	c.progress[id] = progress
	return c, id
}

func (p *puller) leave(ref string, c *pullCall, id int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(c.progress, id)
	c.waiting--
	if c.waiting > 0 {
		return
	}
	c.cancel()
	if p.calls[ref] == c {
		delete(p.calls, ref)
	}
}

func (p *puller) carry(ctx context.Context, ref string, c *pullCall) {
	defer close(c.done)
	if c.err = p.turns.take(ctx); c.err == nil {
		c.image, c.err = p.images.Pull(ctx, ref, func(text string) { p.tell(c, text) })
		p.turns.give()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[ref] == c {
		delete(p.calls, ref)
	}
}

func (p *puller) tell(c *pullCall, text string) {
	p.mu.Lock()
	fns := make([]func(string), 0, len(c.progress))
	for _, f := range c.progress {
		if f != nil {
			fns = append(fns, f)
		}
	}
	p.mu.Unlock()
	for _, f := range fns {
		f(text)
	}
}
