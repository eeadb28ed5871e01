package main

import (
	"context"
	"errors"
	"testing"

	"github.com/carob-project/carob/pkg/component"
)

// fakeRunner is ready at once and ends with err when told to.
type fakeRunner struct {
	ready chan struct{}
	end   chan error
}

func newFakeRunner() *fakeRunner {
	r := &fakeRunner{ready: make(chan struct{}), end: make(chan error, 1)}
	close(r.ready)
	return r
}

func (r *fakeRunner) Ready() <-chan struct{} { return r.ready }

func (r *fakeRunner) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.end:
		return err
	}
}

func TestLoopEndsWithItsStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newFakeRunner()
	c := (&instance{}).loop("x", nil, func(context.Context) (runner, error) { return r, nil })
	if err := component.Run(ctx, []component.Component{c}, nil, cancel); err != nil {
		t.Error(err)
	}
}

func TestLoopThatEndsByItselfEndsTheProcess(t *testing.T) {
	boom := errors.New("boom")
	for _, want := range []error{boom, errEnded} {
		r := newFakeRunner()
		c := (&instance{}).loop("x", nil, func(context.Context) (runner, error) { return r, nil })
		err := component.Run(t.Context(), []component.Component{c}, nil, func() {
			if errors.Is(want, boom) {
				r.end <- boom
			} else {
				r.end <- nil
			}
		})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestLoopThatCannotBeMade(t *testing.T) {
	boom := errors.New("boom")
	c := (&instance{}).loop("x", nil, func(context.Context) (runner, error) { return nil, boom })
	if err := component.Run(t.Context(), []component.Component{c}, nil, nil); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for listen, want := range map[string]struct {
		reachable string
		hosts     int
	}{
		"127.0.0.1:6443": {"127.0.0.1:6443", 1},
		"0.0.0.0:6443":   {"127.0.0.1:6443", 0},
		":6443":          {"127.0.0.1:6443", 0},
		"[::]:6443":      {"127.0.0.1:6443", 0},
		"10.0.0.7:1":     {"10.0.0.7:1", 1},
		"localhost:1":    {"localhost:1", 0},
	} {
		if got := reachable(listen); got != want.reachable {
			t.Errorf("reachable(%s) = %s, want %s", listen, got, want.reachable)
		}
		if got := hostsOf(listen); len(got) != want.hosts {
			t.Errorf("hostsOf(%s) = %v", listen, got)
		}
	}
	if got := nodeIPs("10.0.0.7:6443"); len(got) != 1 || got[0] != "10.0.0.7" {
		t.Errorf("nodeIPs of a listener with an address: %v", got)
	}
	if got := nodeIPs("127.0.0.1:6443"); len(got) != 1 || got[0] == "" {
		t.Errorf("nodeIPs: %v", got)
	}
}
