package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// The pipes of a command, in its directory.
const (
	stdinName  = "stdin"
	stdoutName = "stdout"
	stderrName = "stderr"
)

// execBuffer is how much of a command's output is carried at once.
const execBuffer = 64 << 10

// execIO are the pipes of one command and what carries them.
type execIO struct {
	dir string
	// stdin is nil where the command gets none. A write to it, an empty one
	// too, waits for the shim, which opens its side in its own time.
	stdin io.WriteCloser
	// stderr is nil where the command has a terminal.
	stdout, stderr *os.File
	// held keep the outputs open until the shim has opened them: before, a
	// reader would see an end.
	held []*os.File

	outputs sync.WaitGroup
	// last is when output came last, busy how many writes are under way.
	last atomic.Int64
	busy atomic.Int32
}

// openExecIO makes the pipes of a command in a directory of its own.
func openExecIO(dir string, req pod.ExecRequest) (*execIO, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	x := &execIO{dir: dir}
	err := x.open(req)
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

func (x *execIO) open(req pod.ExecRequest) (err error) {
	if req.Stdin != nil {
		if x.stdin, err = x.input(); err != nil {
			return err
		}
	}
	if x.stdout, err = x.output(stdoutName); err != nil || req.TTY {
		return err
	}
	x.stderr, err = x.output(stderrName)
	return err
}

// input opens the pipe for writing only: opened for both, it would take input
// whose reader may not be there yet when it ends, and who would then find
// nothing and no end.
func (x *execIO) input() (io.WriteCloser, error) {
	if err := x.mkfifo(stdinName); err != nil {
		return nil, err
	}
	return fifo.OpenFifo(context.Background(), x.path(stdinName), unix.O_WRONLY|unix.O_NONBLOCK, 0)
}

func (x *execIO) output(name string) (*os.File, error) {
	if err := x.mkfifo(name); err != nil {
		return nil, err
	}
	f, err := openPipe(x.path(name), unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	w, err := openPipe(f.Name(), unix.O_WRONLY)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	x.held = append(x.held, w)
	return f, nil
}

func (x *execIO) mkfifo(name string) error {
	if err := unix.Mkfifo(x.path(name), 0o600); err != nil {
		return &os.PathError{Op: "mkfifo", Path: x.path(name), Err: err}
	}
	return nil
}

func (x *execIO) path(name string) string { return filepath.Join(x.dir, name) }

// openPipe opens a FIFO for use with the poller.
func openPipe(path string, flag int) (*os.File, error) {
	fd, err := unix.Open(path, flag|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// paths are what the shim is told; empty for what there is not.
func (x *execIO) paths() (stdin, stdout, stderr string) {
	if x.stdin != nil {
		stdin = x.path(stdinName)
	}
	if x.stderr != nil {
		stderr = x.path(stderrName)
	}
	return stdin, x.path(stdoutName), stderr
}

// started is told when the shim has opened the pipes.
func (x *execIO) started() {
	for _, f := range x.held {
		_ = f.Close() // nothing was written through it
	}
	x.held = nil
}

// begin carries data until stop is called. inputEnded is called when the
// client's input has ended and all of it is in the pipe.
func (x *execIO) begin(req pod.ExecRequest, inputEnded func()) (stop func()) {
	x.last.Store(time.Now().UnixNano())
	x.outputs.Go(func() { x.carry(req.Stdout, x.stdout) })
	if x.stderr != nil {
		x.outputs.Go(func() { x.carry(req.Stderr, x.stderr) })
	}
	if x.stdin != nil {
		// It ends with the client's stream, or with the first write to the
		// closed pipe.
		go func() {
			if err := x.feed(req.Stdin); err == nil && !req.TTY {
				_ = x.stdin.Close() // the bytes are in the pipe
				inputEnded()
			}
		}()
	}
	return x.closeFiles // wakes who reads or writes
}

// feed carries the input to its end. The reader is there when it returns nil,
// also where nothing was carried.
func (x *execIO) feed(from io.Reader) error {
	if _, err := x.stdin.Write(nil); err != nil {
		return err
	}
	_, err := io.CopyBuffer(x.stdin, struct{ io.Reader }{from}, make([]byte, execBuffer))
	return err
}

func (x *execIO) closeFiles() {
	if x.stdin != nil {
		_ = x.stdin.Close() // it may be closed already
	}
	for _, f := range []*os.File{x.stdout, x.stderr} {
		if f != nil {
			_ = f.Close() // it may be closed already
		}
	}
}

// carry copies output. A client that takes no more does not stop the command:
// the rest is thrown away.
func (x *execIO) carry(to io.Writer, from *os.File) {
	if to == nil {
		to = io.Discard
	}
	buf := make([]byte, execBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			x.busy.Add(1)
			if _, werr := to.Write(buf[:n]); werr != nil {
				to = io.Discard
			}
			x.last.Store(time.Now().UnixNano())
			x.busy.Add(-1)
		}
		if err != nil {
			return
		}
	}
}

// drain waits until the output of a command that has ended is complete: at
// its end, or after quiet without any, or when ctx ends.
func (x *execIO) drain(ctx context.Context, quiet time.Duration) {
	done := make(chan struct{})
	go func() {
		x.outputs.Wait()
		close(done)
	}()
	tick := time.NewTicker(quiet / 8)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		since := max(time.Unix(0, x.last.Load()).UnixNano(), began.UnixNano())
		if x.busy.Load() == 0 && time.Since(time.Unix(0, since)) > quiet {
			return
		}
	}
}

// close removes the pipes. It may be called again.
func (x *execIO) close() error {
	x.started()
	x.closeFiles()
	if err := os.RemoveAll(x.dir); err != nil {
		return fmt.Errorf("remove exec pipes: %w", err)
	}
	return nil
}
