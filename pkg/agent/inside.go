package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/carob-project/carob/pkg/agent/server"
	"github.com/carob-project/carob/pkg/pod"
)

// Attacher gives access to the standard streams of attempts. An attempt whose
// streams are not open gives an error that wraps pod.ErrNotFound.
type Attacher interface {
	// Stdin makes the pipe of the attempt's standard input, after Logs.Open,
	// and returns its path. Logs.Finish removes it.
	Stdin(k LogKey) (path string, err error)
	// OpenStdin opens that pipe for writing. A write, an empty one too,
	// waits until the pipe has a reader; Close wakes it.
	OpenStdin(k LogKey) (io.WriteCloser, error)
	// Tap returns a copy of the attempt's output from now on.
	Tap(k LogKey) (Tap, error)
}

// Tap is read until it is closed.
type Tap interface {
	// Next returns what came next; at the end of all output io.EOF.
	Next(ctx context.Context) (data []byte, isStderr bool, err error)
	// Late says whether there was output before that it does not show.
	Late() bool
	Close()
}

// Dialer connects to a TCP port of the loopback interface in a network
// namespace, which is named by its path.
type Dialer func(ctx context.Context, netns string, port uint16) (net.Conn, error)

// inside implements server.Inside.
type inside struct {
	pod.Insider
	a *Agent
}

var _ server.Inside = inside{}

// Dial implements server.Inside.
func (i inside) Dial(ctx context.Context, ref pod.Ref, port uint16) (net.Conn, error) {
	sb, err := i.a.o.SandboxView.Get(ref.UID)
	if err != nil {
		return nil, err
	}
	if sb == nil || sb.Stale {
		return nil, fmt.Errorf("sandbox of pod %s/%s: %w", ref.Namespace, ref.Name, pod.ErrNotFound)
	}
	return i.a.o.Dial(ctx, sb.Namespaces.Net, port)
}

// errInputEnded ends an attachment whose client has no more to say.
var errInputEnded = errors.New("standard input has ended")

// attachGrace is how long before its end a container is too late to be attached
// to: what it said is in its log alone.
const attachGrace = 500 * time.Millisecond

// Attach implements server.Inside. An attempt that was ending is not found, as
// it would be a moment later, where its client would see nothing of what it said:
// kubectl then shows the log.
func (i inside) Attach(ctx context.Context, at pod.Attempt, s pod.Streams) error {
	k, began := keyOf(at), i.a.clock()
	tap, err := i.a.o.Attacher.Tap(k)
	if err != nil {
		return err
	}
	defer tap.Close()
	shown, err := i.show(ctx, at, s, tap)
	if err != nil || shown || !tap.Late() {
		return err
	}
	if end, ok := i.endOf(ctx, at); ok && end.Before(began.Add(attachGrace)) {
		return fmt.Errorf("streams of container %s: %w", at.Container, pod.ErrNotFound)
	}
	return nil
}

// endOf returns when an attempt has ended, if it has.
func (i inside) endOf(ctx context.Context, at pod.Attempt) (end time.Time, ok bool) {
	all, err := i.a.o.View.ListPod(ctx, at.Pod.UID)
	if err != nil {
		return time.Time{}, false
	}
	for _, a := range all {
		if a.ID == at.ID && a.Exit != nil {
			return a.Exit.FinishedAt, true
		}
	}
	return time.Time{}, false
}

// show connects the streams until the attempt or its client ends, and says
// whether the client was shown anything.
func (i inside) show(ctx context.Context, at pod.Attempt, s pod.Streams, tap Tap) (shown bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Resize != nil {
		go i.followSize(ctx, at.ID, s.Resize)
	}
	if s.Stdin != nil && i.takesStdin(at) {
		in, err := i.a.o.Attacher.OpenStdin(keyOf(at))
		if err != nil {
			return false, err
		}
		defer func() { _ = in.Close() }() // it wakes a write that waits
		go i.feed(ctx, at, s, in, cancel)
	}
	for {
		data, isStderr, err := tap.Next(ctx)
		switch {
		case errors.Is(err, io.EOF) || ctx.Err() != nil:
			// A client that has left wants to know nothing.
			return shown || ctx.Err() != nil, nil
		case err != nil:
			return shown, err
		}
		to := s.Stdout
		if isStderr {
			to = s.Stderr
		}
		if to == nil {
			continue
		}
		shown = true
		if _, err := to.Write(data); err != nil {
			return true, nil // the client has gone
		}
	}
}

// feed carries a client's input. At its end the standard input of a container
// with stdinOnce ends too and the output goes on; else the client detaches. A
// terminal is never closed.
func (i inside) feed(ctx context.Context, at pod.Attempt, s pod.Streams, in io.WriteCloser, detach context.CancelCauseFunc) {
	_, err := io.Copy(in, s.Stdin)
	if s.TTY || !i.stdinOnce(at) {
		detach(errInputEnded)
		return
	}
	if err == nil {
		_, err = in.Write(nil) // no end before there is who reads it
	}
	if ctx.Err() == nil && err != nil {
		i.a.log.Debug("a client's input broke off", zap.String("uid", string(at.Pod.UID)), zap.Error(err))
	}
	_ = in.Close() // what it holds is in the pipe
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := i.CloseStdin(ctx, at.ID); err != nil && !errors.Is(err, pod.ErrNotFound) {
		i.a.log.Warn("a container's standard input stays open", zap.String("uid", string(at.Pod.UID)),
			zap.String("container", at.Container), zap.Error(err))
	}
}

func (i inside) followSize(ctx context.Context, id string, sizes <-chan pod.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if err := i.Resize(ctx, id, s); err != nil {
				i.a.log.Debug("a terminal keeps its size", zap.String("id", id), zap.Error(err))
			}
		}
	}
}

func (i inside) takesStdin(at pod.Attempt) bool {
	in, _ := i.stdin(at)
	return in
}

func (i inside) stdinOnce(at pod.Attempt) bool {
	_, once := i.stdin(at)
	return once
}

// stdin returns stdin and stdinOnce of the attempt's container.
func (i inside) stdin(at pod.Attempt) (in, once bool) {
	w := i.a.worker(at.Pod.UID)
	if w == nil {
		return false, false
	}
	c, _ := pod.FindContainer(w.snapshot(), at.Container)
	if c == nil {
		return false, false
	}
	return c.Stdin, c.StdinOnce
}
