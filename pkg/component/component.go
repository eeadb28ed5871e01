// Package component starts the parts of a carob process, each as soon as the
// parts it needs are ready, and stops them the other way round. It must not
// know what any part is.
package component

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// StopTimeout bounds how long one part may take to stop.
const StopTimeout = 20 * time.Second

// Component is one part of the process.
type Component struct {
	Name string
	// Needs names the components that have to be ready before Start.
	Needs []string
	// Start returns when the component is ready to serve. What it starts
	// must outlive the call; fail ends the whole process with an error and
	// may be called at any time, from any goroutine.
	Start func(ctx context.Context, fail func(error)) error
	// Stop ends the component; it is called once, also after a failed
	// Start, and may be nil.
	Stop func(ctx context.Context) error
}

// Observer is told of each component that has become ready and the time its
// start took.
type Observer func(name string, took time.Duration)

// Run starts all components, waits until ctx ends or one of them fails, stops
// them in reverse order and returns the failures. ready is called once, when
// every component is ready; both callbacks may be nil.
func Run(ctx context.Context, components []Component, observe Observer, ready func()) error {
	if err := check(components); err != nil {
		return err
	}
	// The components' own context ends only after all were stopped, so that
	// an end of ctx does not tear them down in no order.
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	g := &group{ready: map[string]chan struct{}{}, observe: observe}
	for _, c := range components {
		g.ready[c.Name] = make(chan struct{})
	}
	failed := make(chan struct{})
	var once sync.Once
	fail := func(err error) {
		g.addError(err)
		once.Do(func() { close(failed) })
	}
	starting, abort := context.WithCancel(own)
	defer abort()
	for _, c := range components {
		g.wg.Go(func() { g.start(starting, own, c, fail) })
	}
	allUp := make(chan struct{})
	go func() { g.wg.Wait(); close(allUp) }()
	g.await(ctx, allUp, failed, ready)
	abort()
	<-allUp
	g.stop(own)
	return errors.Join(g.errs...)
}

type group struct {
	wg      sync.WaitGroup
	ready   map[string]chan struct{}
	observe Observer

	mu      sync.Mutex
	errs    []error
	started []Component
}

// await returns when it is time to stop.
func (g *group) await(ctx context.Context, allUp, failed <-chan struct{}, ready func()) {
	select {
	case <-ctx.Done():
		return
	case <-failed:
		return
	case <-allUp:
	}
	select {
	case <-failed:
		return
	default:
	}
	if ready != nil {
		ready()
	}
	select {
	case <-ctx.Done():
	case <-failed:
	}
}

func (g *group) start(starting, own context.Context, c Component, fail func(error)) {
	for _, n := range c.Needs {
		select {
		case <-g.ready[n]:
		case <-starting.Done():
			return
		}
	}
	if starting.Err() != nil {
		return
	}
	g.mu.Lock()
	g.started = append(g.started, c)
	g.mu.Unlock()
	began := time.Now()
	// A Start that waits for something has to end when the start is given
	// up; what it has begun lives on until Stop.
	ctx, cancel := context.WithCancel(own)
	release := context.AfterFunc(starting, cancel)
	err := c.Start(ctx, func(err error) { fail(fmt.Errorf("%s: %w", c.Name, err)) })
	release()
	if err != nil {
		cancel()
		fail(fmt.Errorf("%s: %w", c.Name, err))
		return
	}
	if g.observe != nil {
		g.observe(c.Name, time.Since(began))
	}
	close(g.ready[c.Name])
}

func (g *group) stop(own context.Context) {
	for i := len(g.started) - 1; i >= 0; i-- {
		c := g.started[i]
		if c.Stop == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(own), StopTimeout)
		if err := c.Stop(ctx); err != nil {
			g.addError(fmt.Errorf("%s: stop: %w", c.Name, err))
		}
		cancel()
	}
}

func (g *group) addError(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, err)
}

// check refuses names that are double or unknown, and circles.
func check(components []Component) error {
	needs := map[string][]string{}
	for _, c := range components {
		if _, double := needs[c.Name]; double {
			return fmt.Errorf("component %s exists twice", c.Name)
		}
		needs[c.Name] = c.Needs
	}
	done := map[string]bool{}
	var visit func(name string, path map[string]bool) error
	visit = func(name string, path map[string]bool) error {
		n, known := needs[name]
		switch {
		case !known:
			return fmt.Errorf("component %s is needed and does not exist", name)
		case path[name]:
			return fmt.Errorf("component %s needs itself", name)
		case done[name]:
			return nil
		}
		path[name] = true
		for _, m := range n {
			if err := visit(m, path); err != nil {
				return err
			}
		}
		delete(path, name)
		done[name] = true
		return nil
	}
	for name := range needs {
		if err := visit(name, map[string]bool{}); err != nil {
			return err
		}
	}
	return nil
}
