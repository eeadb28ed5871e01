package keylock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestOneHolderAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		var wg sync.WaitGroup
		held := map[string]int{}
		var mu sync.Mutex
		begin := time.Now()
		for i := range 20 {
			key := []string{"a", "b"}[i%2]
			wg.Go(func() {
				unlock, err := l.Lock(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				defer unlock()
				mu.Lock()
				held[key]++
				if held[key] != 1 {
					t.Errorf("%d hold %s", held[key], key)
				}
				mu.Unlock()
				time.Sleep(time.Second) // virtual
				mu.Lock()
				held[key]--
				mu.Unlock()
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("two keys of ten took %s, want 10s", took)
		}
		if len(l.locks) != 0 {
			t.Errorf("%d locks are left", len(l.locks))
		}
	})
}

func TestLockGivesUpWithItsContext(t *testing.T) {
	var l Locks
	unlock, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	unlock()
	if len(l.locks) != 0 {
		t.Errorf("%d locks are left", len(l.locks))
	}
}
