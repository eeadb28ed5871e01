package credentialprovider

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/kubelet/pkg/apis/credentialprovider"
)

// everything is the place of answers that are for all images. It cannot be the
// name of one.
const everything = "<global>"

// place is what an answer is for: an image, a registry or everything, and the
// account of whose pods it was asked.
type place struct{ images, account string }

type auths map[string]credentialprovider.AuthConfig

type kept struct {
	auths   auths
	expires time.Time
}

// cache keeps answers. The zero value is ready for use.
type cache struct {
	mu   sync.Mutex
	held map[place]kept
}

// get returns what is known for an image, the most exact first.
func (c *cache) get(image, account string, now time.Time) (auths, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, images := range []string{image, registryOf(image), everything} {
		if k, ok := c.held[place{images, account}]; ok && !now.After(k.expires) {
			return k.auths, true
		}
	}
	return nil, false
}

// put keeps an answer, and throws away what has expired.
func (c *cache) put(p place, a auths, expires, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		c.held = map[place]kept{}
	}
	maps.DeleteFunc(c.held, func(_ place, k kept) bool { return now.After(k.expires) })
	c.held[p] = kept{a, expires}
}

// flights makes those who ask the same at the same time share one answer. The
// zero value is ready for use.
type flights struct {
	mu   sync.Mutex
	open map[string]*flight
}

// flight goes on for as long as somebody waits for it.
type flight struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	auths   auths
	err     error
}

// do runs f for key, or joins the one that runs.
func (s *flights) do(ctx context.Context, key string, f func(context.Context) (auths, error)) (auths, error) {
	fl := s.join(ctx, key, f)
	select {
	case <-fl.done:
		s.leave(key, fl)
		return fl.auths, fl.err
	case <-ctx.Done():
		if s.leave(key, fl) {
			<-fl.done // whoever leaves last leaves no process behind
		}
		return nil, ctx.Err()
	}
}

func (s *flights) join(ctx context.Context, key string, f func(context.Context) (auths, error)) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	fl := s.open[key]
	if fl == nil {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, done: make(chan struct{})}
		if s.open == nil {
			s.open = map[string]*flight{}
		}
		s.open[key] = fl
		go func() {
			defer cancel()
			fl.auths, fl.err = f(own)
			s.mu.Lock()
			s.remove(key, fl)
			s.mu.Unlock()
			close(fl.done)
		}()
	}
	fl.waiting++
	return fl
}

func (s *flights) leave(key string, fl *flight) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fl.waiting--; fl.waiting > 0 {
		return false
	}
	// Whoever comes now must not join one that is being broken off.
	s.remove(key, fl)
	fl.cancel()
	return true
}

// remove lets whoever comes from now on ask anew. The lock is held.
func (s *flights) remove(key string, fl *flight) {
	if s.open[key] == fl {
		delete(s.open, key)
	}
}
