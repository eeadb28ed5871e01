package wallclock

import (
	"context"
	"io"
	"os"
	"syscall"
	"testing"
)

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	set, err := Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case _, ok := <-set:
		t.Fatalf("the clock was set, or the watch has ended: %v", ok)
	default:
	}
	cancel()
	if _, ok := <-set; ok {
		t.Error("the clock was set")
	}
}

// script answers reads with the errors it is made of.
type script []error

func (s *script) Read([]byte) (int, error) {
	err := (*s)[0]
	*s = (*s)[1:]
	return 0, err
}

func TestASetClockIsTold(t *testing.T) {
	canceled := &os.PathError{Op: "read", Path: "timerfd", Err: syscall.ECANCELED}
	set := make(chan struct{}, 1)
	// The second time finds the first one still waiting, and neither blocks.
	follow(&script{canceled, canceled, io.ErrClosedPipe}, set)
	if len(set) != 1 {
		t.Errorf("told %d times", len(set))
	}
}
