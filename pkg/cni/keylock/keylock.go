// Package keylock serialises work by key: one holder a key, different keys at
// the same time. It knows nothing of what the keys name.
package keylock

import (
	"context"
	"sync"
)

// Locks is a set of locks that exist while somebody holds or awaits them. The
// zero value is ready for use.
type Locks struct {
	mu    sync.Mutex
	locks map[string]*lock
}

type lock struct {
	// token has room for one; who puts it in holds the lock.
	token chan struct{}
	users int
}

// Lock waits until it holds the key and returns the function that gives it
// back, to be called once. It returns the context's error where that ends
// first.
func (l *Locks) Lock(ctx context.Context, key string) (unlock func(), err error) {
	e := l.join(key)
	select {
	case e.token <- struct{}{}:
		return func() {
			<-e.token
			l.leave(key, e)
		}, nil
	case <-ctx.Done():
		l.leave(key, e)
		return nil, ctx.Err()
	}
}

func (l *Locks) join(key string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks == nil {
		l.locks = map[string]*lock{}
	}
	e := l.locks[key]
	if e == nil {
		e = &lock{token: make(chan struct{}, 1)}
		l.locks[key] = e
	}
	e.users++
	return e
}

func (l *Locks) leave(key string, e *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.users--
	if e.users == 0 {
		delete(l.locks, key)
	}
}
