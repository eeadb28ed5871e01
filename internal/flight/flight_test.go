package flight

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
)

func TestFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Group[string]
		var pulls int
		release := make(chan struct{})
		pull := func(ctx context.Context, tell func(string)) (string, error) {
			pulls++
			tell("half")
			select {
			case <-release:
				return "x", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		var wg sync.WaitGroup
		impatient, cancel := context.WithCancel(t.Context())
		var texts [3]string
		for i := range 3 {
			ctx := t.Context()
			if i == 0 {
				ctx = impatient
			}
			wg.Go(func() {
				got, err := f.Do(ctx, "k", func(s string) { texts[i] = s }, pull)
				if i == 0 != (err != nil) || i != 0 && got != "x" {
					t.Errorf("caller %d: %q, %v", i, got, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wg.Wait()
		if pulls != 1 || texts != [3]string{"half", "half", "half"} || len(f.open) != 0 {
			t.Errorf("%d pulls, progress %v, %d open", pulls, texts, len(f.open))
		}
		// With its last caller a pull is broken off.
		alone, leave := context.WithCancel(t.Context())
		release = make(chan struct{})
		go leave()
		if _, err := f.Do(alone, "k", nil, pull); err == nil {
			t.Error("a pull without callers goes on")
		}
		synctest.Wait()
	})
}
