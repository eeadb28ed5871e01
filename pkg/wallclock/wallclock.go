// Package wallclock tells when somebody sets the machine's clock. Timers of Go
// measure time that has passed; who waits for a time of day has to look again
// then. It must not know what is waited for.
package wallclock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tfdTimerCancelOnSet is TFD_TIMER_CANCEL_ON_SET of timerfd_settime(2).
const tfdTimerCancelOnSet = 1 << 1

// never is a time that no clock reaches.
const never = 1 << 40

// Watch returns a channel that gets a value, if it has room for one, each time
// the clock is set by a jump. It is closed when ctx ends.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("wallclock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	if err := arm(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("wallclock: %w", err), timer.Close())
	}
	set := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { _ = timer.Close() })
	go func() {
		defer close(set)
		defer stop()
		follow(timer, set)
	}()
	return set, nil
}

func arm(fd int) error {
	return unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|tfdTimerCancelOnSet, &unix.ItimerSpec{Value: unix.Timespec{Sec: never}}, nil)
}

// reader is what is read of a timer.
type reader interface{ Read([]byte) (int, error) }

// follow reads until the timer is closed. The clock being set shows as an
// error, after which the timer goes on as it was armed.
func follow(timer reader, set chan<- struct{}) {
	buf := make([]byte, 8)
	for {
		_, err := timer.Read(buf)
		if err != nil && !errors.Is(err, syscall.ECANCELED) {
			return
		}
		select {
		case set <- struct{}{}:
		default: // it has not been taken note of the last one yet
		}
	}
}
