package pipekeeper

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Timeouts of one exchange with the process, and of its start.
const (
	askTimeout   = 5 * time.Second
	startTimeout = 10 * time.Second
)

// ErrKeeper is wrapped by what the process answers other than ok.
var ErrKeeper = errors.New("pipe keeper")

// Client asks the keeper of an instance. It starts one where none answers, and
// again where one was killed; the new one is told of every pipe that is still
// to be kept. It is safe for concurrent use.
type Client struct {
	socket string

	mu   sync.Mutex
	conn net.Conn
	r    *bufio.Reader
	kept map[string]struct{}
}

// New returns a client of the keeper behind a socket. Nothing is started yet.
func New(socket string) *Client {
	return &Client{socket: socket, kept: map[string]struct{}{}}
}

// Keep has a named pipe kept open until Drop. The pipe has to exist.
func (c *Client) Keep(ctx context.Context, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ask(ctx, wordKeep+path); err != nil {
		return err
	}
	c.kept[path] = struct{}{}
	return nil
}

// Drop gives a pipe up. One that is not kept is no error, and no keeper is
// started for it.
func (c *Client) Drop(ctx context.Context, path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, path)
	var err error
	for range tries {
		if c.conn == nil && c.connect(ctx) != nil {
			return nil // what it had open went with it
		}
		if err = c.exchange(ctx, wordDrop+path); err == nil || errors.Is(err, ErrKeeper) || ctx.Err() != nil {
			return err
		}
		c.hangUp()
	}
	return err
}

// Close ends the connection; the keeper stays.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUp()
}

// Quit ends the keeper, and with it the pipes that nobody else has open. That
// none runs is no error.
func (c *Client) Quit(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.hangUp()
	if c.conn == nil && c.connect(ctx) != nil {
		return nil
	}
	if err := c.exchange(ctx, wordQuit); err != nil {
		return err
	}
	// Its end closes the connection.
	_ = c.conn.SetReadDeadline(time.Now().Add(askTimeout))
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w: it does not end: %w", ErrKeeper, err)
	}
	return nil
}

// tries bounds how many keepers one request may meet: the one it was connected
// to, one that is dying but still accepted the connection, and a new one.
const tries = 3

// ask sends a request, to a new keeper where the present one does not answer.
func (c *Client) ask(ctx context.Context, request string) error {
	var err error
	for range tries {
		if err = c.try(ctx, request); err == nil || errors.Is(err, ErrKeeper) || ctx.Err() != nil {
			return err
		}
		c.hangUp()
	}
	return err
}

// try sends a request over the connection there is, or over a new one after
// every pipe that is still to be kept.
func (c *Client) try(ctx context.Context, request string) error {
	if c.conn != nil {
		return c.exchange(ctx, request)
	}
	if c.connect(ctx) != nil {
		if err := c.start(ctx); err != nil {
			return err
		}
	}
	for path := range c.kept {
		// One that has gone meanwhile is not worth failing for.
		if err := c.exchange(ctx, wordKeep+path); err != nil && !errors.Is(err, ErrKeeper) {
			return err
		}
	}
	return c.exchange(ctx, request)
}

func (c *Client) exchange(ctx context.Context, request string) error {
	deadline := time.Now().Add(askTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c.conn, request); err != nil {
		return err
	}
	answer, err := c.r.ReadString('\n')
	if err != nil {
		return err
	}
	if answer != answerOK+"\n" {
		return fmt.Errorf("%w: %s", ErrKeeper, answer[:len(answer)-1])
	}
	return nil
}

func (c *Client) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: askTimeout}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return err
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return nil
}

func (c *Client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn, c.r = nil, nil
	}
}

// start starts the process and connects to it. It gets a session of its own, so
// that no signal meant for carob reaches it.
func (c *Client) start(ctx context.Context) error {
	// The link works also when the file was replaced by a newer version.
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{Name, c.socket}, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=20"}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrKeeper, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// A listening socket has no event for those who want to connect.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("%w: it ended at once: %w", ErrKeeper, errors.Join(err, c.connect(ctx)))
		case <-ctx.Done():
			return fmt.Errorf("%w: it did not start: %w", ErrKeeper, ctx.Err())
		case <-tick.C:
			if c.connect(ctx) == nil {
				return nil
			}
		}
	}
}
