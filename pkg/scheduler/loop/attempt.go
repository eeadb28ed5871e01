package loop

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/scheduler"
)

// Back-off of the retries that no change has called for: after a failed write,
// and, as a safety, for an unschedulable pod.
const (
	writeRetryLeast = 100 * time.Millisecond
	writeRetryMost  = 10 * time.Second
	retryLeast      = 30 * time.Second
	retryMost       = 5 * time.Minute
	// reportAgain is after what time an unchanged reason is told once more.
	reportAgain = time.Minute
)

// backoff doubles from low with each failure, up to high.
func backoff(failures int, low, high time.Duration) time.Duration {
	return min(low<<min(max(failures-1, 0), 16), high)
}

// attempt tries to place the next pod. done is false where there is none;
// next then says when one is due, if ever.
func (s *Scheduler) attempt(ctx context.Context) (done bool, next time.Time) {
	s.mu.Lock()
	s.applyChanges()
	it := s.queue.pop(time.Now())
	if it == nil {
		next = s.queue.next()
		s.mu.Unlock()
		return false, next
	}
	pod := it.pod
	if _, held := s.assumed[pod.UID]; held {
		// Its last bind may have failed; the new choice replaces that one.
		s.snapshot.RemovePod(pod.UID)
		delete(s.assumed, pod.UID)
	}
	tr := try{since: it.since, popped: time.Now()}
	d := s.decide(pod)
	tr.decided = time.Now()
	if d.err == nil {
		s.snapshot.SetPod(pod, d.node)
		s.assumed[pod.UID] = d.node
		s.moved = true
	}
	s.mu.Unlock()
	s.write(ctx, func() {
		begun := time.Now()
		err := d.err
		switch {
		case err != nil:
			s.unschedulable(ctx, it, pod, d)
		case len(d.volumes) > 0:
			s.claimVolumes(ctx, it, pod, d)
		default:
			err = s.bind(ctx, it, pod, d.node)
		}
		s.record(it, pod, tr, begun, d, err)
	})
	return true, time.Time{}
}

// applyChanges makes those unschedulable pods active that a change may have
// helped. A changed node wakes all, since reasons and counts change too; what
// has left a node wakes the pods that now fit there, and where pods care about
// each other also those elsewhere. The caller holds the lock.
func (s *Scheduler) applyChanges() {
	switch {
	case s.nodesChanged:
		s.queue.wake(func(*corev1.Pod) bool { return true })
	case len(s.freed) > 0:
		nodes := make([]string, 0, len(s.freed))
		for name := range s.freed {
			nodes = append(nodes, name)
		}
		s.queue.wake(func(p *corev1.Pod) bool {
			return s.snapshot.Opinionated() || scheduler.Social(p) || scheduler.Fits(p, s.snapshot, nodes...)
		})
	case s.moved:
		s.queue.wake(scheduler.Social)
	}
	if s.volumesChanged {
		s.queue.wake(func(p *corev1.Pod) bool { return len(claim.Names(p)) > 0 })
	}
	s.nodesChanged, s.moved, s.volumesChanged = false, false, false
	clear(s.freed)
}

// write carries f out beside the loop, as soon as a slot is free.
func (s *Scheduler) write(ctx context.Context, f func()) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.writing.Go(func() {
		defer func() { <-s.slots }()
		f()
	})
}

// bind writes the choice. A bind that may have happened although it failed
// keeps its place on the node until the next try, or until the informer shows
// what has become of it.
func (s *Scheduler) bind(ctx context.Context, it *item, pod *corev1.Pod, node string) error {
	err := s.writeBinding(ctx, pod, node)
	if err == nil {
		s.log.Debug("pod bound", zap.String("pod", podKey(pod)), zap.String("uid", string(pod.UID)), zap.String("node", node))
		s.scheduled(pod, node)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.queue.items[pod.UID] == it {
			s.queue.remove(pod.UID)
		}
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	s.log.Warn("bind failed", zap.String("pod", podKey(pod)), zap.String("uid", string(pod.UID)), zap.String("node", node), zap.Error(err))
	if !apierrors.IsNotFound(err) {
		s.rejected(pod, &it.report, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.items[pod.UID] != it {
		return err // deleted, or bound after all: the informer has told
	}
	if refused(err) {
		s.release(pod)
	}
	it.failures++
	s.queue.park(it, time.Now().Add(backoff(it.failures, writeRetryLeast, writeRetryMost)), false)
	s.signal()
	return err
}

// refused reports whether the server has certainly not carried the request out.
// A conflict is not such an answer: the pod may be on that node since a try
// whose answer got lost.
func refused(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusConflict
}

// unschedulable tells why the pod has no node, has the pods told to leave that
// it may displace, and puts it aside.
func (s *Scheduler) unschedulable(ctx context.Context, it *item, pod *corev1.Pod, d decision) {
	err := s.tell(ctx, pod, &it.report, d)
	if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
		s.log.Warn("cannot write condition", zap.String("pod", podKey(pod)), zap.String("uid", string(pod.UID)), zap.Error(err))
	}
	evicted := s.evict(ctx, pod, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	it.failures++
	due := time.Now().Add(backoff(it.failures, retryLeast, retryMost))
	if evicted != nil && ctx.Err() == nil {
		s.log.Warn("preemption failed", zap.String("pod", podKey(pod)), zap.String("uid", string(pod.UID)), zap.String("node", d.preemption.Node), zap.Error(evicted))
		delete(s.nominated, pod.UID)
		due = time.Now().Add(backoff(it.failures, writeRetryLeast, writeRetryMost))
	}
	s.queue.park(it, due, true)
	s.signal()
}
