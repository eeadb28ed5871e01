package pod

import (
	"context"
	"io"
)

// TerminalSize is the size of a terminal in characters.
type TerminalSize struct {
	Width, Height uint16
}

// Streams are what a client of a process holds in its hands.
type Streams struct {
	// Stdin is nil where the client sends none. It is read in the background,
	// and may still be read from for an instant after the call has returned.
	Stdin io.Reader
	// Stdout and Stderr may be nil: what comes there is thrown away. With TTY
	// everything comes to Stdout.
	Stdout, Stderr io.Writer
	// TTY: the client is a terminal.
	TTY bool
	// Resize tells the sizes of the client's terminal; it may be nil.
	Resize <-chan TerminalSize
}

// ExecRequest is a command to be run inside an attempt. With TTY it gets a
// terminal; without Stdin it reads an end of file at once.
type ExecRequest struct {
	Command []string
	Streams
}

// Insider reaches into attempts that run. Every method is safe for concurrent
// use; an attempt that does not run gives an error that wraps ErrNotFound.
type Insider interface {
	// Exec runs a command beside the attempt's own process, with its
	// environment, user, namespaces and limits, and returns its exit code
	// once all its output is written. When ctx ends, the command is killed
	// together with all processes that came from it.
	Exec(ctx context.Context, id string, r ExecRequest) (code int, err error)
	// Resize sets the size of the attempt's own terminal.
	Resize(ctx context.Context, id string, s TerminalSize) error
	// CloseStdin makes the attempt's standard input end behind what was
	// written to it.
	CloseStdin(ctx context.Context, id string) error
}
