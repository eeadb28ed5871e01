package podlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Copier copies the output of one attempt.
//
// It looks at what is in a pipe without taking it (tee), appends whole lines to
// the file in one write, and only then takes exactly those bytes out of the pipe.
// Killed at any instant, it loses nothing.
//
// So that nothing is repeated either, all lines of such a batch have a timestamp
// of their own, and before the write the FIFO's access time is set to a value
// that encodes it. The read that takes the bytes sets the access time to the
// present in the same system call. The next Copier thus knows: an access time
// that encodes the timestamp at the end of the file means that those lines are
// still in the pipe, and it takes them out; any other means that they are not.
// Before it does so it compares them byte by byte. Lines can come twice only
// where the file system of the FIFOs keeps no access times (noatime).
//
// An unterminated line stays in the pipe until its end has come, or 16 KiB of it,
// or the pipe has no more room, or Finish.
//
// If the file cannot be written, records are dropped and counted, never is the
// container blocked; each batch tries anew.
type Copier struct {
	all     *Copiers
	log     *zap.Logger
	streams []*source
	wg      sync.WaitGroup
	done    chan struct{}
	stop    sync.Once

	// mu makes mark, write and consume of a batch one thing between the two
	// streams.
	mu   sync.Mutex
	sink sink
	last time.Time
	// failing: the last write failed; lost is what has been dropped since.
	failing bool
	lost    int
	// ending: the goroutines are to stop, and with finish to drain first.
	ending, finish bool
	// taps are the readers of output as it comes; closed: there will be none.
	taps   map[*Tap]struct{}
	closed bool
}

// source is one stream of a Copier.
type source struct {
	copier *Copier
	name   Stream
	pipe   *fifo
	marks  bool
	// shown is how much of what is in the pipe the taps have been given.
	shown int
}

// resume goes on from what an earlier Copier has left.
func (k *Copier) resume() error {
	tail, err := k.sink.repair()
	if err != nil {
		return fmt.Errorf("opening the log %s: %w", k.sink.path, err)
	}
	k.last = lastTime(tail)
	sc := <-k.all.pool
	defer func() { k.all.pool <- sc }()
	for _, s := range k.streams {
		if err := s.resume(sc, tail); err != nil {
			return err
		}
	}
	return nil
}

// resume takes out of the pipe what is in the file already.
func (s *source) resume(sc *scratch, tail []byte) error {
	if !s.marks {
		return nil
	}
	t, err := s.pipe.marked()
	if err != nil {
		return err
	}
	written := lastBatch(tail, s.name, t)
	if len(written) == 0 {
		return nil
	}
	head, err := sc.peek(s.pipe)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(head, written) {
		return nil // rather twice than never
	}
	return s.pipe.consume(sc.in, len(written))
}

func (k *Copier) run(ctx context.Context) {
	for _, s := range k.streams {
		k.wg.Go(s.run)
	}
	unhook := context.AfterFunc(ctx, func() { k.end(false) })
	go func() {
		k.wg.Wait()
		unhook()
		if err := k.release(); err != nil {
			k.log.Warn("closing a log failed", zap.Error(err))
		}
		k.all.forget(k)
		close(k.done)
	}()
}

// release closes what is open.
func (k *Copier) release() error {
	for _, s := range k.streams {
		s.pipe.close()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for t := range k.taps {
		t.end(io.EOF)
	}
	clear(k.taps)
	return k.sink.close()
}

// end wakes the goroutines for the last time. The first call counts.
func (k *Copier) end(finish bool) {
	k.stop.Do(func() {
		k.mu.Lock()
		k.ending, k.finish = true, finish
		k.mu.Unlock()
		for _, s := range k.streams {
			// A deadline wakes a waiting read at once. It fails only on a
			// closed file, whose goroutine has ended.
			_ = s.pipe.file.SetReadDeadline(time.Unix(1, 0))
		}
	})
}

// Finish copies what is still in the pipes, an unterminated line included, and
// ends the Copier. It is called when all writers have gone, after the task was
// deleted. It returns when all is in the file, or ctx has ended.
func (k *Copier) Finish(ctx context.Context) error {
	k.end(true)
	select {
	case <-k.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("finishing the log %s: %w", k.sink.path, ctx.Err())
	}
}

// Close ends the Copier and leaves in the pipes what is there: the next one goes
// on, if the shim has kept them open. It waits for the batch under way.
func (k *Copier) Close() {
	k.end(false)
	<-k.done
}

// Done is closed when the Copier has ended and all it has copied is in the file.
func (k *Copier) Done() <-chan struct{} { return k.done }

// run copies until it is told to stop.
func (s *source) run() {
	log := s.copier.log.With(zap.String("stream", string(s.name)))
	raw, err := s.pipe.file.SyscallConn()
	if err != nil {
		log.Error("a log pipe cannot be read", zap.Error(err))
		return
	}
	var fault error
	err = raw.Read(func(uintptr) bool {
		// The poller tells of new bytes, not of those that are left: take all
		// that can be taken before waiting.
		for {
			more, err := s.batch(false)
			if err != nil {
				fault = err
				return true
			}
			if ending, _ := s.copier.state(); !more || ending {
				// After the deadline, waiting ends at once.
				return false
			}
		}
	})
	if fault == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		fault = err
	}
	if _, finish := s.copier.state(); fault == nil && finish {
		fault = s.drain()
	}
	if fault != nil {
		log.Error("copying a container's output failed", zap.Error(fault))
	}
}

// state says whether the Copier is to end, and whether to drain before.
func (k *Copier) state() (ending, finish bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ending, k.finish
}

// drain copies everything, also what has no end.
func (s *source) drain() error {
	for _, flush := range []bool{false, true} {
		for {
			more, err := s.batch(flush)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// batch copies one batch. It returns false where nothing could be copied.
func (s *source) batch(flush bool) (bool, error) {
	k := s.copier
	sc := <-k.all.pool
	defer func() { k.all.pool <- sc }()
	k.mu.Lock()
	defer k.mu.Unlock()
	for seen := 0; ; {
		in, err := sc.peek(s.pipe)
		if err != nil || len(in) == 0 {
			return false, err
		}
		s.show(in)
		now := k.stamp()
		f := appendRecords(sc.out, in, now, s.name, maxOut, flush)
		if f.consumed > 0 {
			return true, s.commit(sc, f, now)
		}
		// The end of this line is not in sight. Waiting for it would be in
		// vain where the pipe holds more than can be seen, or is full.
		n, err := s.pipe.waiting()
		if err != nil || n <= len(in) && !s.pipe.full() {
			return false, err
		}
		flush = n <= len(in) || len(in) == seen
		seen = len(in)
	}
}

// commit brings a batch from the pipe into the file.
func (s *source) commit(sc *scratch, f formatted, now time.Time) error {
	if s.marks {
		if err := s.pipe.mark(now); err != nil {
			return fmt.Errorf("marking %s: %w", s.pipe.file.Name(), err)
		}
	}
	s.copier.write(f, now)
	s.shown -= f.consumed
	return s.pipe.consume(sc.in, f.consumed)
}

// stamp returns the present, or the next instant that no batch has.
func (k *Copier) stamp() time.Time {
	now := k.all.opts.Clock().Round(0)
	if !now.After(k.last) {
		now = k.last.Add(1)
	}
	k.last = now
	return now
}

// write writes a batch to the file, or drops and counts it.
func (k *Copier) write(f formatted, now time.Time) {
	n := &k.all.n
	err := k.sink.write(f.out, now)
	if err != nil {
		n.dropped.Add(uint64(f.records))
		n.droppedBytes.Add(uint64(f.consumed))
		k.lost += f.records
		if !k.failing {
			msg := "a container's log cannot be written: its lines are dropped"
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				msg = "the disk is full: lines of a container's log are dropped"
			}
			k.log.Error(msg, zap.String("file", k.sink.path), zap.Error(err))
		}
		k.failing = true
		return
	}
	n.records.Add(uint64(f.records))
	n.bytes.Add(uint64(len(f.out)))
	if k.failing {
		k.log.Warn("a container's log can be written again", zap.Int("lost", k.lost))
		k.failing, k.lost = false, 0
	}
}
