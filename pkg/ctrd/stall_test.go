package ctrd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPullThatMovesIsNotBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, g := guardProgress(t.Context(), time.Minute)
		defer g.stop()
		for range 10 {
			time.Sleep(59 * time.Second)
			g.moved()
		}
		if err := ctx.Err(); err != nil {
			t.Fatalf("broken off: %v", context.Cause(ctx))
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), errStalled) {
			t.Errorf("a pull that stands still goes on: %v", context.Cause(ctx))
		}
		err := g.cause(ctx.Err())
		if !errors.Is(err, errStalled) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no progress for 1m0s") {
			t.Errorf("cause %v", err)
		}
	})
}

func TestAPullAtRestTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, g := guardProgress(t.Context(), time.Minute)
		g.rest()
		time.Sleep(time.Hour)
		if err := ctx.Err(); err != nil {
			t.Fatalf("broken off: %v", context.Cause(ctx))
		}
		failed := errors.New("unpacking failed")
		if err := g.cause(failed); !errors.Is(err, failed) || errors.Is(err, errStalled) {
			t.Errorf("cause %v", err)
		}
		g.stop()
		if ctx.Err() == nil {
			t.Error("the context outlives the guard")
		}
	})
}
