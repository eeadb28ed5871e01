package logstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/podlog"
)

var _ agent.Attacher = (*Store)(nil)

// Stdin implements agent.Attacher.
func (s *Store) Stdin(k agent.LogKey) (string, error) { return podlog.MakeStdin(s.pipes(keyOf(k))) }

// OpenStdin implements agent.Attacher. The pipe is opened for both directions:
// a writer alone would fail while the shim is not there yet.
func (s *Store) OpenStdin(k agent.LogKey) (io.WriteCloser, error) {
	path := filepath.Join(s.pipes(keyOf(k)), podlog.StdinName)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("standard input of container %s: %w", k.Container, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Tap implements agent.Attacher.
func (s *Store) Tap(k agent.LogKey) (agent.Tap, error) {
	s.mu.Lock()
	e := s.open[keyOf(k)]
	s.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("streams of container %s: %w", k.Container, pod.ErrNotFound)
	}
	t, err := e.copier.Tap()
	if err != nil {
		return nil, err
	}
	return tap{t}, nil
}

// tap is a podlog.Tap in the agent's terms.
type tap struct{ *podlog.Tap }

// Next implements agent.Tap.
func (t tap) Next(ctx context.Context) ([]byte, bool, error) {
	stream, data, err := t.Tap.Next(ctx)
	return data, stream == podlog.Stderr, err
}
