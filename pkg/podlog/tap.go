package podlog

import (
	"context"
	"errors"
	"io"
	"sync"
)

// tapLimit is how many bytes wait for one reader of a Tap at most.
const tapLimit = 16 << 20

// ErrTooSlow: the reader of a Tap has fallen behind further than is kept for
// it. What it missed is in the log.
var ErrTooSlow = errors.New("output is produced faster than it is read; the log has all of it")

// Tap gives one reader a copy of what an attempt writes, as it writes it. It
// never delays the attempt or its log.
type Tap struct {
	mu     sync.Mutex
	chunks []chunk
	size   int
	err    error
	// news has room for one: it says that something has changed.
	news chan struct{}
	// leave takes the Tap off its Copier.
	leave func()
	// late: there was output before.
	late bool
}

type chunk struct {
	stream Stream
	data   []byte
}

// Tap begins with what stands in the pipes without the end of its line, such
// as the prompt of a shell, and goes on until the Copier ends.
func (k *Copier) Tap() (*Tap, error) {
	t := &Tap{news: make(chan struct{}, 1)}
	t.leave = func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.taps, t)
	}
	sc := <-k.all.pool
	defer func() { k.all.pool <- sc }()
	k.mu.Lock()
	defer k.mu.Unlock()
	t.late = !k.last.IsZero()
	if k.closed {
		t.end(io.EOF)
		return t, nil
	}
	for _, s := range k.streams {
		in, err := sc.peek(s.pipe)
		if err != nil {
			return nil, err
		}
		t.add(s.name, in[:min(len(in), s.shown)])
	}
	if k.taps == nil {
		k.taps = map[*Tap]struct{}{}
	}
	k.taps[t] = struct{}{}
	return t, nil
}

// show hands to the taps what is new at the head of the pipe. The caller holds
// the Copier's lock.
func (s *source) show(in []byte) {
	if len(in) <= s.shown {
		return
	}
	for t := range s.copier.taps {
		t.add(s.name, in[s.shown:])
	}
	s.shown = len(in)
}

func (t *Tap) add(s Stream, data []byte) {
	if len(data) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil:
		return
	case t.size+len(data) > tapLimit:
		t.err = ErrTooSlow
	default:
		t.chunks = append(t.chunks, chunk{s, append([]byte(nil), data...)})
		t.size += len(data)
	}
	t.tell()
}

// end makes Next return err when all that was added has been read.
func (t *Tap) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	t.tell()
}

func (t *Tap) tell() {
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// Next returns what came next. At the end of the attempt's output it returns
// io.EOF, for a reader that was too slow ErrTooSlow, both after everything
// that was kept. Only one goroutine may call it.
func (t *Tap) Next(ctx context.Context) (Stream, []byte, error) {
	for {
		t.mu.Lock()
		if len(t.chunks) > 0 {
			c := t.chunks[0]
			t.chunks[0] = chunk{}
			t.chunks = t.chunks[1:]
			t.size -= len(c.data)
			t.mu.Unlock()
			return c.stream, c.data, nil
		}
		err := t.err
		t.mu.Unlock()
		if err != nil {
			return "", nil, err
		}
		select {
		case <-t.news:
		case <-ctx.Done():
			return "", nil, ctx.Err()
		}
	}
}

// Late says whether the attempt had written anything before there was the Tap.
func (t *Tap) Late() bool { return t.late }

// Close takes the Tap off.
func (t *Tap) Close() { t.leave() }
