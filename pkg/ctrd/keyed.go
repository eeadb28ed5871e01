package ctrd

import (
	"context"
	"sync"

	"github.com/carob-project/carob/pkg/tracing"
)

// keyedLocks is a mutex per key; a key that nobody holds or waits for takes no
// memory. The zero value is ready for use.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	taken chan struct{}
	users int
}

// lock waits for the key, or for ctx to end, and returns what releases it.
func (k *keyedLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*keyedLock{}
	}
	l := k.locks[key]
	if l == nil {
		l = &keyedLock{taken: make(chan struct{}, 1)}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()
	_, waited := tracing.Begin(ctx, "await turn", tracing.Minor())
	defer func() { waited(err) }()
	select {
	case l.taken <- struct{}{}:
	case <-ctx.Done():
		k.leave(key, l)
		return nil, ctx.Err()
	}
	return func() {
		<-l.taken
		k.leave(key, l)
	}, nil
}

func (k *keyedLocks) leave(key string, l *keyedLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(k.locks, key)
	}
}

// sharedLocks is a read-write mutex per key.
type sharedLocks struct {
	mu    sync.Mutex
	locks map[string]*sharedLock
}

type sharedLock struct {
	sync.RWMutex
	users int
}

func (k *sharedLocks) use(key string) (l *sharedLock, leave func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locks == nil {
		k.locks = map[string]*sharedLock{}
	}
	if l = k.locks[key]; l == nil {
		l = &sharedLock{}
		k.locks[key] = l
	}
	l.users++
	return l, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}

// share takes the key together with others that share it.
func (k *sharedLocks) share(key string) (unlock func()) {
	l, leave := k.use(key)
	l.RLock()
	return func() { l.RUnlock(); leave() }
}

// alone takes the key for one.
func (k *sharedLocks) alone(key string) (unlock func()) {
	l, leave := k.use(key)
	l.Lock()
	return func() { l.Unlock(); leave() }
}

// held tells whether somebody holds or waits for the key.
func (k *keyedLocks) held(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locks[key] != nil
}
