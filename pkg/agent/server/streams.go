package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/carob-project/carob/pkg/hijack"
	"github.com/carob-project/carob/pkg/pod"
)

// Inside reaches into the containers and the networks of pods.
type Inside interface {
	// Exec is that of pod.Insider.
	Exec(ctx context.Context, id string, r pod.ExecRequest) (code int, err error)
	// Attach connects the streams with those of the attempt's own process. It
	// returns nil when the process has ended or the client has left.
	Attach(ctx context.Context, a pod.Attempt, s pod.Streams) error
	// Dial connects to a TCP port on the pod's loopback interface.
	Dial(ctx context.Context, ref pod.Ref, port uint16) (net.Conn, error)
}

// idleTimeout ends a stream on which nothing has moved for so long; the value
// of a kubelet.
const idleTimeout = 4 * time.Hour

// codeKilled is the exit code of a command that was killed.
const codeKilled = 137

// commandParam carries the words of a command, one each.
const commandParam = "command"

// target is the container that a stream is for.
type target struct {
	pod     *corev1.Pod
	attempt pod.Attempt
}

// target finds the running attempt. Where it cannot, it has answered.
func (h *Handler) target(w http.ResponseWriter, r *http.Request) (target, bool) {
	p, attempts, ok := h.pods.FindPod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return target{}, false
	}
	name := r.PathValue("container")
	i := slices.IndexFunc(attempts, func(a pod.Attempt) bool {
		return a.Container == name && a.State == pod.AttemptRunning
	})
	if i < 0 {
		http.Error(w, fmt.Sprintf("container not found (%q)", name), http.StatusInternalServerError)
		return target{}, false
	}
	return target{p, attempts[i]}, true
}

func (h *Handler) serveExec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	command := r.URL.Query()[commandParam]
	if err == nil && len(command) == 0 {
		err = badf("you must specify a command")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, ok := h.target(w, r)
	if !ok {
		return
	}
	w, r, done := h.open(w, r)
	defer done()
	h.log.Debug("exec", zap.String("pod", t.attempt.Pod.Namespace+"/"+t.attempt.Pod.Name),
		zap.String("container", t.attempt.Container), zap.Strings("command", command))
	remotecommand.ServeExec(w, r, executor{h.inside, t.attempt, opts}, t.pod.Name, string(t.pod.UID), t.attempt.Container,
		command, opts, idleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (h *Handler) serveAttach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t, ok := h.target(w, r)
	if !ok {
		return
	}
	w, r, done := h.open(w, r)
	defer done()
	remotecommand.ServeAttach(w, r, executor{h.inside, t.attempt, opts}, t.pod.Name, string(t.pod.UID), t.attempt.Container,
		opts, idleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (h *Handler) servePortForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, _, ok := h.pods.FindPod(r.PathValue("namespace"), r.PathValue("pod"))
	if !ok {
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return
	}
	w, r, done := h.open(w, r)
	defer done()
	portforward.ServePortForward(w, r, forwarder{h.inside, pod.RefOf(p), r.Context()}, p.Name, string(p.UID),
		opts, idleTimeout, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// open counts a stream in and watches its client.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, func()) {
	h.sessions.begin()
	w, r, cancel := hijack.Watch(w, r)
	return w, r, func() {
		cancel()
		h.sessions.end()
	}
}

// executor serves exec and attach for the streaming library.
type executor struct {
	inside  Inside
	attempt pod.Attempt
	opts    *remotecommand.Options
}

// ExecInContainer implements remotecommand.Executor. The library wants an exit
// code other than 0 as an error of its own kind.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, cmd []string, in io.Reader, out, err io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	code, failed := e.inside.Exec(ctx, e.attempt.ID, pod.ExecRequest{Command: cmd, Streams: e.streams(ctx, in, out, err, tty, resize)})
	if errors.Is(failed, pod.ErrNotFound) {
		return fmt.Errorf("container not found (%q)", e.attempt.Container)
	}
	if failed != nil && ctx.Err() != nil {
		// It was killed since its client has gone, or is about to be sent away.
		code, failed = codeKilled, nil
	}
	if failed != nil || code == 0 {
		return failed
	}
	return utilexec.CodeExitError{Err: fmt.Errorf("error executing command %v, exit code %d", cmd, code), Code: code}
}

// AttachContainer implements remotecommand.Attacher.
func (e executor) AttachContainer(ctx context.Context, _, _, _ string, in io.Reader, out, err io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize) error {
	return e.inside.Attach(ctx, e.attempt, e.streams(ctx, in, out, err, tty, resize))
}

// streams leaves out what the client did not ask for: there may be a dummy in
// its place.
func (e executor) streams(ctx context.Context, in io.Reader, out, err io.Writer, tty bool, resize <-chan remotecommand.TerminalSize) pod.Streams {
	s := pod.Streams{TTY: tty}
	if e.opts.Stdin {
		s.Stdin = in
	}
	if e.opts.Stdout {
		s.Stdout = out
	}
	if e.opts.Stderr {
		s.Stderr = err
	}
	if tty && resize != nil {
		s.Resize = sizes(ctx, resize)
	}
	return s
}

func sizes(ctx context.Context, from <-chan remotecommand.TerminalSize) <-chan pod.TerminalSize {
	to := make(chan pod.TerminalSize)
	go func() {
		defer close(to)
		for s := range from {
			select {
			case to <- pod.TerminalSize{Width: s.Width, Height: s.Height}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return to
}

// forwarder serves the ports of one pod for the streaming library, for as long
// as the client is there: ctx is that of its connection.
type forwarder struct {
	inside Inside
	ref    pod.Ref
	ctx    context.Context
}

// PortForward implements portforward.PortForwarder.
func (f forwarder) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := f.inside.Dial(f.ctx, f.ref, uint16(port))
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside the pod: %w", port, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(f.ctx, func() { _ = conn.Close() })()
	go func() {
		// An end here is only half an end: the answer may still come.
		_, err := io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			_ = half.CloseWrite() // the other direction tells
			return
		}
		_ = conn.Close()
	}()
	if _, err := io.Copy(stream, conn); err != nil && f.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("copying from port %d: %w", port, err)
	}
	return nil
}
