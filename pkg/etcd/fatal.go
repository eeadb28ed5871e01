package etcd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// stopTimeout bounds the wait for a member that can no longer end by itself.
const stopTimeout = 10 * time.Second

// fatalWatch turns what etcd does when it cannot go on, a fatal or a panicking
// log entry, into an error: a corrupt file must not end the process without a
// word to the one who started it.
type fatalWatch struct {
	failed chan error
	last   *lastError
}

func newFatalWatch() *fatalWatch {
	return &fatalWatch{failed: make(chan error, 1), last: &lastError{}}
}

func (w *fatalWatch) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// logger returns the member's logger. A fatal entry ends the goroutine that
// wrote it instead of the process.
func (w *fatalWatch) logger(log *zap.Logger) *zap.Logger {
	quiet := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return &quietCore{Core: c, last: w.last} })
	return log.WithOptions(quiet, zap.WithFatalHook(w), zap.WithPanicHook(w))
}

// OnWrite is called by zap after a fatal or a panicking entry.
func (w *fatalWatch) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	w.fail(describe(e.Message, fields))
	runtime.Goexit()
}

// start runs StartEtcd in a goroutine of its own, which a fatal entry or a
// panic may end.
func (w *fatalWatch) start(c *embed.Config) (*embed.Etcd, error) {
	type result struct {
		member *embed.Etcd
		err    error
	}
	out := make(chan result, 1)
	go func() {
		r := result{err: errors.New("the start was given up")}
		defer func() {
			if p := recover(); p != nil {
				r.err = w.last.or(fmt.Errorf("the files are damaged: %v", p))
			}
			out <- r
		}()
		r.member, r.err = embed.StartEtcd(c)
	}()
	select {
	case r := <-out:
		if r.err == nil {
			return r.member, nil
		}
		select {
		case cause := <-w.failed:
			return nil, cause
		default:
			return nil, r.err
		}
	case cause := <-w.failed:
		// etcd waits for ever for a goroutine of its own that has ended; it
		// is left behind, as the process cannot go on without a store.
		return nil, cause
	}
}

// stop closes a member; one whose goroutines have already been ended may never
// finish, and is left behind then.
func (w *fatalWatch) stop(member *embed.Etcd) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		member.Close()
	}()
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// checkUnused tells early, and in words, what the database's own lock would
// only wait for.
func checkUnused(dir string) error {
	f, err := os.Open(filepath.Join(dir, "member", "snap", "db")) //nolint:gosec // below our own directory
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	defer func() { _ = f.Close() }()
	fd := int(f.Fd()) //nolint:gosec // a descriptor fits an int
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s", ErrInUse, dir)
	} else if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}
