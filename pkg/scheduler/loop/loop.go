// Package loop runs the scheduler against an API server: it keeps a snapshot
// from informers, takes pods without a node from a queue, lets the scheduler
// choose, binds them, and tells by condition and event why a pod has no node.
// It must not decide anything about nodes itself; that is the scheduler's.
package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/scheduler"
	"github.com/carob-project/carob/pkg/tracing"
)

const (
	// Name is the schedulerName of the pods this scheduler serves, and the
	// component its events name.
	Name = corev1.DefaultSchedulerName

	// writers bounds the requests under way, so that many new pods neither
	// wait for each other nor flood the API server.
	writers = 32
	// requestTimeout bounds one request.
	requestTimeout = 15 * time.Second
)

// Options are what a Scheduler needs.
type Options struct {
	// Client is used for binding, conditions and events. Its rate limit
	// should be off: it would delay pods, not protect the server.
	Client kubernetes.Interface
	// Informers may be nil: then the Scheduler makes and runs its own. A
	// given one has to be started by the caller after New.
	Informers informers.SharedInformerFactory
	// Tracer makes spans of the tries to place pods; nil: none.
	Tracer *tracing.Tracer
	// Log may be nil.
	Log *zap.Logger
}

// Scheduler binds pods to nodes.
type Scheduler struct {
	client   kubernetes.Interface
	log      *zap.Logger
	tracer   *tracing.Tracer
	own      informers.SharedInformerFactory
	synced   []cache.DoneChecker
	recorder record.EventRecorder
	events   record.EventBroadcaster
	ready    chan struct{}
	// wake has room for one: something may have to be done.
	wake    chan struct{}
	slots   chan struct{}
	writing sync.WaitGroup

	mu       sync.Mutex
	queue    *queue
	snapshot *scheduler.Snapshot
	// assumed are the pods that count against a node although the informer
	// does not show them bound, with that node.
	assumed map[types.UID]string
	// nominated are the places that are being cleared for pods.
	nominated map[types.UID]nominee
	// nodesChanged and freed are what may help unschedulable pods: any node
	// has changed, or something has left the node of that name, or takes less of it.
	nodesChanged bool
	freed        map[string]struct{}
	// moved says that a pod has come, gone or changed so that pods which
	// care about others may be helped.
	moved bool
	// volumesChanged says that a volume, a claim or a class has changed.
	volumesChanged bool
}

// New makes a Scheduler; Run starts it.
func New(o Options) (*Scheduler, error) {
	if o.Client == nil {
		return nil, errors.New("scheduler: no client")
	}
	s := &Scheduler{
		client:   o.Client,
		log:      o.Log,
		tracer:   o.Tracer,
		ready:    make(chan struct{}),
		wake:     make(chan struct{}, 1),
		slots:    make(chan struct{}, writers),
		queue:    newQueue(),
		snapshot: scheduler.NewSnapshot(),
		assumed:  map[types.UID]string{},
		freed:    map[string]struct{}{},

		nominated: map[types.UID]nominee{},
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	factory := o.Informers
	if factory == nil {
		factory = informers.NewSharedInformerFactoryWithOptions(o.Client, 0, informers.WithTransform(dropManagedFields))
		s.own = factory
	}
	if err := s.watch(factory); err != nil {
		return nil, err
	}
	return s, nil
}

// watch hangs the handlers into the informers.
func (s *Scheduler) watch(f informers.SharedInformerFactory) error {
	nodes, err := f.Core().V1().Nodes().Informer().AddEventHandler(s.nodeHandler())
	if err != nil {
		return fmt.Errorf("scheduler: watch nodes: %w", err)
	}
	pods, err := f.Core().V1().Pods().Informer().AddEventHandler(s.podHandler())
	if err != nil {
		return fmt.Errorf("scheduler: watch pods: %w", err)
	}
	namespaces, err := f.Core().V1().Namespaces().Informer().AddEventHandler(s.namespaceHandler())
	if err != nil {
		return fmt.Errorf("scheduler: watch namespaces: %w", err)
	}
	budgets, err := f.Policy().V1().PodDisruptionBudgets().Informer().AddEventHandler(s.budgetHandler())
	if err != nil {
		return fmt.Errorf("scheduler: watch budgets: %w", err)
	}
	s.synced = []cache.DoneChecker{
		nodes.HasSyncedChecker(), pods.HasSyncedChecker(), namespaces.HasSyncedChecker(), budgets.HasSyncedChecker(),
	}
	return s.watchStorage(f)
}

// Ready is closed when the Scheduler knows the cluster and binds pods.
func (s *Scheduler) Ready() <-chan struct{} { return s.ready }

// Run schedules until ctx ends; it returns after its last write. It can be
// called once.
func (s *Scheduler) Run(ctx context.Context) error {
	s.events = record.NewBroadcaster(record.WithContext(ctx))
	s.events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: s.client.CoreV1().Events("")})
	defer s.events.Shutdown()
	s.recorder = s.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Name})
	if s.own != nil {
		s.own.Start(ctx.Done())
		defer s.own.Shutdown()
	}
	// Without all nodes and all bound pods a decision would overcommit.
	for _, checker := range s.synced {
		select {
		case <-checker.Done():
		case <-ctx.Done():
			return nil
		}
	}
	close(s.ready)
	s.log.Info("scheduler ready", zap.Int("nodes", s.nodeCount()))
	s.loop(ctx)
	s.writing.Wait()
	return nil
}

func (s *Scheduler) nodeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot.Len()
}

// loop takes one pod after the other, and sleeps while there is none.
func (s *Scheduler) loop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		done, next := s.attempt(ctx)
		if done {
			continue
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// signal makes the loop look again.
func (s *Scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dropManagedFields saves the memory of what nobody here reads.
func dropManagedFields(obj any) (any, error) {
	if o, err := meta.Accessor(obj); err == nil {
		o.SetManagedFields(nil)
	}
	return obj, nil
}
