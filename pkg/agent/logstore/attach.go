package logstore

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/fifo"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/podlog"
)

var _ agent.Attacher = (*Store)(nil)

// Stdin implements agent.Attacher.
func (s *Store) Stdin(k agent.LogKey) (string, error) { return podlog.MakeStdin(s.pipes(keyOf(k))) }

// OpenStdin implements agent.Attacher.
func (s *Store) OpenStdin(k agent.LogKey) (io.WriteCloser, error) {
	path := filepath.Join(s.pipes(keyOf(k)), podlog.StdinName)
	w, err := fifo.OpenFifo(context.Background(), path, unix.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("standard input of container %s: %w", k.Container, err)
	}
	return w, nil
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
