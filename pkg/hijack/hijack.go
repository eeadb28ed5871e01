// Package hijack tells a server when the client of a connection goes away that
// was handed over to a protocol of its own, WebSocket or SPDY: the standard
// library no longer does. It must not know the protocols.
package hijack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watch returns writer and request for a handler that takes over the
// connection; the request's context ends when the client has gone, or with the
// returned function, which has to be called. The returned writer hides the one
// beneath on purpose: who takes over must come by here.
func Watch(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	return &writer{ResponseWriter: w, ctx: ctx, lost: cancel}, r.WithContext(ctx), cancel
}

type writer struct {
	http.ResponseWriter
	ctx  context.Context
	lost func()
}

// Hijack implements http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// What has been read already comes first.
	head := make([]byte, rw.Reader.Buffered())
	if _, err := io.ReadFull(rw.Reader, head); err != nil {
		_ = c.Close() // nobody has used it yet
		return nil, nil, err
	}
	watched := &conn{Conn: c, lost: w.lost}
	go watched.look(w.ctx)
	from := bufio.NewReader(io.MultiReader(bytes.NewReader(head), watched))
	return watched, bufio.NewReadWriter(from, rw.Writer), nil
}

// lookEvery is how often a connection is looked at that nobody reads from.
const lookEvery = 500 * time.Millisecond

// conn tells when nothing more can come.
type conn struct {
	net.Conn
	lost func()
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.lost()
	}
	return n, err
}

// look notices that the client has gone though nobody reads: the handler has
// more than it can pass on, or was told that there will be no more.
func (c *conn) look(ctx context.Context) {
	raw := rawConn(c.Conn)
	if raw == nil {
		return
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		gone := false
		err := raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
			n, err := unix.Poll(fds, 0)
			gone = err == nil && n > 0
		})
		if gone || err != nil {
			c.lost()
			return
		}
	}
}

// rawConn is the connection of the kernel beneath, nil where there is none.
func rawConn(c net.Conn) syscall.RawConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
