package ctrd

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errStalled: nothing came from a registry for too long.
var errStalled = errors.New("no progress")

// progressGuard breaks a pull off that does not move.
type progressGuard struct {
	ctx   context.Context
	limit time.Duration
	timer *time.Timer
	stop  func()
}

// guardProgress returns a context that ends when moved is not called for the
// limit, and the guard to call it on. stop must be called.
func guardProgress(ctx context.Context, limit time.Duration) (context.Context, *progressGuard) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w for %v", errStalled, limit)) })
	g := &progressGuard{ctx: ctx, limit: limit, timer: timer}
	g.stop = func() {
		timer.Stop()
		cancel(nil)
	}
	return ctx, g
}

func (g *progressGuard) moved() { g.timer.Reset(g.limit) }

// rest lets the pull take the time it needs from here on.
func (g *progressGuard) rest() { g.timer.Stop() }

// cause is err, or that the pull stalled where that is why it failed.
func (g *progressGuard) cause(err error) error {
	if why := context.Cause(g.ctx); errors.Is(why, errStalled) {
		return fmt.Errorf("%w: %w", why, err)
	}
	return err
}
