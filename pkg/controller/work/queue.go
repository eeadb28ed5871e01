// Package work is the loop that every controller has: keys that may be looked
// at, workers that look, and a back-off for what did not succeed. It must not
// know what a key means.
package work

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/util/workqueue"
)

const (
	retryLeast = 50 * time.Millisecond
	retryMost  = 5 * time.Minute
)

// ErrWaiting is returned for a key where nothing went wrong, but which has to
// be looked at again should nobody else call for that. It is not logged.
var ErrWaiting = errors.New("waiting")

// Queue holds keys. A key that is added several times before its turn comes is
// handled once, and never by two workers at a time.
type Queue[K comparable] struct {
	q   workqueue.TypedRateLimitingInterface[K]
	log *zap.Logger
}

// New makes a queue; log may be nil.
func New[K comparable](log *zap.Logger) *Queue[K] {
	if log == nil {
		log = zap.NewNop()
	}
	return &Queue[K]{
		q:   workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[K](retryLeast, retryMost)),
		log: log,
	}
}

// Add makes the key due now.
func (q *Queue[K]) Add(key K) { q.q.Add(key) }

// AddAfter makes the key due after d. Of several such calls the earliest time
// counts.
func (q *Queue[K]) AddAfter(key K, d time.Duration) { q.q.AddAfter(key, d) }

// Run calls handle for each key that is due, from n workers, until ctx ends;
// then it returns when the workers have. A key whose handling fails is due
// again after a back-off that grows with each failure in a row.
func (q *Queue[K]) Run(ctx context.Context, n int, handle func(context.Context, K) error) {
	stop := context.AfterFunc(ctx, q.q.ShutDown)
	defer stop()
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for q.next(ctx, handle) {
				continue
			}
		})
	}
	workers.Wait()
}

func (q *Queue[K]) next(ctx context.Context, handle func(context.Context, K) error) bool {
	key, shutdown := q.q.Get()
	if shutdown {
		return false
	}
	defer q.q.Done(key)
	if ctx.Err() != nil {
		return true
	}
	err := handle(ctx, key)
	if err == nil {
		q.q.Forget(key)
		return true
	}
	if !errors.Is(err, ErrWaiting) && ctx.Err() == nil {
		q.log.Warn("will be tried again", zap.Any("key", key), zap.Int("failures", q.q.NumRequeues(key)+1), zap.Error(err))
	}
	q.q.AddRateLimited(key)
	return true
}
