package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/carob-project/carob/pkg/pod"
)

const (
	statusWriters = 4
	// statusPause is how long a change that nobody waits for is held back.
	statusPause      = 200 * time.Millisecond
	statusTime       = 15 * time.Second
	statusRetryFirst = 200 * time.Millisecond
	statusRetryLast  = 10 * time.Second
)

// statusWriter is the one place that writes pod statuses. It keeps the last
// one wanted for each pod and writes it until the API has it.
type statusWriter struct {
	client kubernetes.Interface
	log    *zap.Logger
	queue  workqueue.TypedRateLimitingInterface[types.UID]
	// ended tells that the API has a pod's terminal phase.
	ended  func(uid types.UID)
	stages *stages

	mu      sync.Mutex
	entries map[types.UID]*statusEntry
}

type statusEntry struct {
	ref pod.Ref
	// turn is held while the entry is being written.
	turn turns

	// The writer's mu guards the rest.
	have    corev1.PodStatus // what the API has
	version string           // resource version of have
	want    *corev1.PodStatus
	gone    bool
}

func newStatusWriter(client kubernetes.Interface, log *zap.Logger) *statusWriter {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](statusRetryFirst, statusRetryLast)
	return &statusWriter{
		client: client, log: log,
		queue:   workqueue.NewTypedRateLimitingQueue(limiter),
		entries: map[types.UID]*statusEntry{},
	}
}

// saw tells what the API has, from the watch.
func (s *statusWriter) saw(p *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[p.UID]
	if e == nil {
		s.entries[p.UID] = &statusEntry{
			ref: pod.RefOf(p), turn: make(turns, 1),
			have: *p.Status.DeepCopy(), version: p.ResourceVersion,
		}
		return
	}
	newer, err := resourceversion.CompareResourceVersion(p.ResourceVersion, e.version)
	if err != nil || newer <= 0 {
		return // the watch lags behind what was written here
	}
	e.have, e.version = *p.Status.DeepCopy(), p.ResourceVersion
	if e.want != nil && !equality.Semantic.DeepEqual(e.have, *e.want) {
		s.queue.AddAfter(p.UID, statusPause)
	}
}

// reported returns the status that the API has, as far as the node knows.
func (s *statusWriter) reported(uid types.UID) (corev1.PodStatus, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[uid]
	if e == nil {
		return corev1.PodStatus{}, false
	}
	return *e.have.DeepCopy(), true
}

// set makes st the status to be written for a pod that was seen before.
func (s *statusWriter) set(uid types.UID, st corev1.PodStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[uid]
	if e == nil || (e.want != nil && equality.Semantic.DeepEqual(*e.want, st)) {
		return
	}
	e.want = st.DeepCopy()
	if urgent(e.have, st) {
		s.queue.Add(uid)
		return
	}
	s.queue.AddAfter(uid, statusPause)
}

// lost tells that the API does not have the pod any more: nothing is written
// of it.
func (s *statusWriter) lost(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[uid]; e != nil {
		e.gone = true
	}
}

// forget drops a pod that needs no status any more.
func (s *statusWriter) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, uid)
}

// run writes until ctx ends.
func (s *statusWriter) run(ctx context.Context) {
	var wg sync.WaitGroup
	for range statusWriters {
		wg.Go(func() {
			for s.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	s.queue.ShutDown()
	wg.Wait()
}

func (s *statusWriter) next(ctx context.Context) bool {
	uid, down := s.queue.Get()
	if down {
		return false
	}
	defer s.queue.Done(uid)
	if err := s.flush(ctx, uid); err != nil {
		if ctx.Err() == nil {
			s.log.Debug("a pod's status cannot be written yet", zap.String("uid", string(uid)), zap.Error(err))
			s.queue.AddRateLimited(uid)
		}
		return true
	}
	s.queue.Forget(uid)
	return true
}

// flush writes the wanted status of a pod now, if it differs from what the API
// has. A pod that the API does not have any more is no error.
func (s *statusWriter) flush(ctx context.Context, uid types.UID) error {
	s.mu.Lock()
	e := s.entries[uid]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if err := e.turn.take(ctx); err != nil {
		return err
	}
	defer e.turn.give()

	s.mu.Lock()
	if e.want == nil || e.gone {
		s.mu.Unlock()
		return nil
	}
	have, want := e.have, mergeStatus(e.have, *e.want)
	s.mu.Unlock()

	patch, err := statusPatch(uid, have, want)
	if err != nil || patch == nil {
		return err
	}
	ctx, done := s.stages.span(ctx, uid, "write status")
	got, err := s.client.CoreV1().Pods(e.ref.Namespace).Patch(ctx, e.ref.Name,
		types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	done(err)
	if err != nil {
		return s.failed(ctx, e, err)
	}
	s.took(e, got)
	s.stages.written(uid, &got.Status)
	return nil
}

func (s *statusWriter) took(e *statusEntry, p *corev1.Pod) {
	s.mu.Lock()
	e.have, e.version = *p.Status.DeepCopy(), p.ResourceVersion
	s.mu.Unlock()
	if terminal(p.Status.Phase) {
		s.ended(e.ref.UID)
	}
}

// failed looks whether the pod is still there: a recreated name makes the
// write fail for ever, and a base that is out of date makes it fail until it
// is read anew.
func (s *statusWriter) failed(ctx context.Context, e *statusEntry, cause error) error {
	gone := apierrors.IsNotFound(cause)
	if !gone && (apierrors.IsConflict(cause) || apierrors.IsInvalid(cause)) {
		p, err := s.client.CoreV1().Pods(e.ref.Namespace).Get(ctx, e.ref.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			gone = true
		case err != nil:
			return errors.Join(cause, err)
		case p.UID != e.ref.UID:
			gone = true
		default:
			s.took(e, p)
		}
	}
	if gone {
		s.lost(e.ref.UID)
		return nil
	}
	return fmt.Errorf("writing the status: %w", cause)
}
