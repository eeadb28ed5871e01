package work

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string](nil)
		var mu sync.Mutex
		var at []time.Duration
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			q.Run(ctx, 2, func(_ context.Context, key string) error {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(began))
				switch {
				case key == "later", len(at) == 3:
					return nil
				case len(at) == 1:
					return ErrWaiting
				}
				return errors.New("failed")
			})
		}()
		q.Add("key")
		q.Add("key")
		time.Sleep(time.Minute)
		q.AddAfter("later", time.Hour)
		q.AddAfter("later", time.Second)
		time.Sleep(2 * time.Hour)
		cancel()
		<-done
		want := []time.Duration{0, retryLeast, 3 * retryLeast, time.Minute + time.Second}
		if len(at) != len(want) {
			t.Fatalf("handled at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("handled at %v, want %v", at, want)
			}
		}
		q.Add("after the end")
	})
}
