package server

import (
	"context"
	"sync"
)

// sessions counts the streams under way: a server does not wait for
// connections that were handed over to a protocol of their own.
type sessions struct {
	mu   sync.Mutex
	open int
	idle chan struct{}
}

func (s *sessions) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == 0 {
		s.idle = make(chan struct{})
	}
	s.open++
}

func (s *sessions) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 {
		close(s.idle)
	}
}

// wait returns when no stream is open, or ctx has ended.
func (s *sessions) wait(ctx context.Context) {
	s.mu.Lock()
	open, idle := s.open, s.idle
	s.mu.Unlock()
	if open == 0 {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
