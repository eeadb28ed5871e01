package podlog

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	// maxIn is how much of a pipe one batch takes at most.
	maxIn = 256 << 10
	// maxOut is where the output of a batch ends, give or take a record.
	maxOut = 512 << 10
)

// scratch is what one batch needs. There are few, shared by all Copiers: most
// containers are silent most of the time.
type scratch struct {
	in, out []byte
	// r and w are a pipe into which the content of a FIFO is duplicated, to be
	// seen without being taken. It is empty between batches.
	r, w int
}

func newScratch() (*scratch, error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("making a pipe for logs: %w", err)
	}
	// A smaller pipe works too, only with more turns.
	_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, pipeSize)
	return &scratch{
		in: make([]byte, maxIn), out: make([]byte, 0, maxOut+MaxLine+100),
		r: p[0], w: p[1],
	}, nil
}

func (s *scratch) close() {
	_ = unix.Close(s.r) // both hold nothing
	_ = unix.Close(s.w)
}

// peek returns the head of what is in the pipe, as much as fits, and leaves it
// there. It never blocks.
func (s *scratch) peek(p *fifo) ([]byte, error) {
	var n int64
	for {
		var err error
		n, err = unix.Tee(p.fd, s.w, maxIn, unix.SPLICE_F_NONBLOCK)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking into %s: %w", p.file.Name(), err)
		}
		break
	}
	for got := 0; got < int(n); {
		m, err := unix.Read(s.r, s.in[got:n])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the copy of %s: %w", p.file.Name(), err)
		}
		got += m
	}
	return s.in[:n], nil
}

// scratchPool hands out a fixed number of scratches.
type scratchPool chan *scratch

func newScratchPool() (scratchPool, error) {
	pool := make(scratchPool, min(4, runtime.GOMAXPROCS(0)))
	for range cap(pool) {
		s, err := newScratch()
		if err != nil {
			pool.close()
			return nil, err
		}
		pool <- s
	}
	return pool, nil
}

func (p scratchPool) close() {
	for {
		select {
		case s := <-p:
			s.close()
		default:
			return
		}
	}
}
