package resources

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

const (
	// refreshGap is the least time between two discoveries.
	refreshGap = time.Second
	// retryDiscovery is the wait after the first incomplete discovery; it
	// doubles up to retryDiscoveryMax.
	retryDiscovery    = time.Second
	retryDiscoveryMax = time.Minute
)

// Handler is told of objects. Both methods are called from many goroutines,
// for one object from one at a time, and must return soon.
type Handler interface {
	// Observe: the object exists and is like this now.
	Observe(r Resource, o *metav1.PartialObjectMetadata)
	// Gone: the object was deleted, or its kind is not served any more.
	Gone(r Resource, o *metav1.PartialObjectMetadata)
}

// Options are what Monitors need.
type Options struct {
	Discovery Discovery
	Metadata  metadata.Interface
	// Log may be nil.
	Log *zap.Logger
	// Ignored are resources not to watch; nil means DefaultIgnored.
	Ignored []schema.GroupResource
}

// DefaultIgnored returns the resources that change all the time and that
// neither own anything nor matter when their owner goes: they expire.
func DefaultIgnored() []schema.GroupResource {
	return []schema.GroupResource{
		{Resource: "events"},
		{Group: "events.k8s.io", Resource: "events"},
		{Group: "coordination.k8s.io", Resource: "leases"},
	}
}

// Monitors watch the metadata of every object that can be listed, watched and
// deleted. They follow what the API server serves: definitions of resources
// are objects too, and a change of one leads to another discovery.
type Monitors struct {
	discovery Discovery
	metadata  metadata.Interface
	log       *zap.Logger
	ignored   map[schema.GroupResource]bool
	handlers  []Handler
	refresh   chan struct{}
	ready     chan struct{}

	mu      sync.Mutex
	set     Set
	running map[schema.GroupVersionResource]*monitor
	// settled is closed while all monitors have delivered what they listed.
	settled chan struct{}
}

type monitor struct {
	resource Resource
	informer cache.SharedIndexInformer
	synced   cache.DoneChecker
	cancel   context.CancelFunc
	done     chan struct{}
}

// NewMonitors makes Monitors; Run starts them.
func NewMonitors(o Options) *Monitors {
	m := &Monitors{
		discovery: o.Discovery,
		metadata:  o.Metadata,
		log:       o.Log,
		ignored:   map[schema.GroupResource]bool{},
		refresh:   make(chan struct{}, 1),
		ready:     make(chan struct{}),
		running:   map[schema.GroupVersionResource]*monitor{},
		settled:   make(chan struct{}),
	}
	if m.log == nil {
		m.log = zap.NewNop()
	}
	ignored := o.Ignored
	if ignored == nil {
		ignored = DefaultIgnored()
	}
	for _, gr := range ignored {
		m.ignored[gr] = true
	}
	return m
}

// Subscribe adds a handler. It may be called before Run only.
func (m *Monitors) Subscribe(h Handler) { m.handlers = append(m.handlers, h) }

// Refresh asks for another discovery soon.
func (m *Monitors) Refresh() {
	select {
	case m.refresh <- struct{}{}:
	default:
	}
}

// Set returns what the API server served at the last discovery.
func (m *Monitors) Set() Set {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.set
}

// Count returns how many objects of a kind there are in a namespace; false means
// that the kind is not watched.
func (m *Monitors) Count(r schema.GroupResource, namespace string) (int, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for gvr, mon := range m.running {
		if gvr.GroupResource() == r {
			keys, err := mon.informer.GetIndexer().IndexKeys(cache.NamespaceIndex, namespace)
			return len(keys), err == nil
		}
	}
	return 0, false
}

// Ready is closed when all objects that existed at the start are known.
func (m *Monitors) Ready() <-chan struct{} { return m.ready }

// Settle waits until the handlers know all objects of all watched kinds, also
// of one that has only just come.
func (m *Monitors) Settle(ctx context.Context) error {
	m.mu.Lock()
	settled := m.settled
	m.mu.Unlock()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run watches until ctx ends and returns when every watch has ended.
func (m *Monitors) Run(ctx context.Context) error {
	defer m.stopAll()
	failures := 0
	for {
		var retry <-chan time.Time
		if m.discover(ctx) {
			failures = 0
		} else {
			retry = time.After(min(retryDiscovery<<min(failures, 10), retryDiscoveryMax))
			failures++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		case <-m.refresh:
			// One change seldom comes alone.
			select {
			case <-time.After(refreshGap):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// discover brings the monitors in line with what is served, and waits until
// the new ones have listed. It reports whether all is as it should be.
func (m *Monitors) discover(ctx context.Context) bool {
	set, err := Discover(m.discovery)
	if err != nil {
		m.log.Warn("discovery incomplete", zap.Error(err))
		if len(set.preferred) == 0 {
			return false
		}
	}
	begun, vanished := m.apply(ctx, set, err == nil)
	for _, mon := range vanished {
		m.stop(mon)
	}
	for _, mon := range begun {
		select {
		case <-mon.synced.Done():
		case <-ctx.Done():
			return false
		}
	}
	m.markSettled()
	return err == nil
}

// apply starts what is missing, and takes out what is not served any more
// where the set is complete.
func (m *Monitors) apply(ctx context.Context, set Set, complete bool) (begun, vanished []*monitor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	served := map[schema.GroupVersionResource]bool{}
	for _, r := range set.Preferred() {
		if !r.Can("list", "watch", "delete") || m.ignored[r.GVR.GroupResource()] {
			continue
		}
		served[r.GVR] = true
		if m.running[r.GVR] != nil {
			continue
		}
		mon, err := m.start(ctx, r)
		if err != nil {
			m.log.Warn("cannot watch", zap.Stringer("resource", r.GVR), zap.Error(err))
			continue
		}
		m.running[r.GVR] = mon
		begun = append(begun, mon)
	}
	if complete {
		m.set = set
		for gvr, mon := range m.running {
			if !served[gvr] {
				delete(m.running, gvr)
				vanished = append(vanished, mon)
			}
		}
	} else if len(m.set.preferred) == 0 {
		m.set = set
	}
	if len(begun) > 0 {
		m.unsettle()
	}
	return begun, vanished
}

// unsettle makes Settle wait. The caller holds the lock.
func (m *Monitors) unsettle() {
	select {
	case <-m.settled:
		m.settled = make(chan struct{})
	default:
	}
}

func (m *Monitors) markSettled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.settled:
	default:
		close(m.settled)
	}
	select {
	case <-m.ready:
	default:
		close(m.ready)
	}
}

func (m *Monitors) start(ctx context.Context, r Resource) (*monitor, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(m.metadata, r.GVR, metav1.NamespaceAll, 0,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, nil).Informer()
	if err := informer.SetTransform(slim); err != nil {
		return nil, err
	}
	reg, err := informer.AddEventHandler(m.handler(r))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	mon := &monitor{resource: r, informer: informer, synced: reg.HasSyncedChecker(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(mon.done)
		informer.RunWithContext(ctx)
	}()
	return mon, nil
}

// stop ends a monitor and tells that its objects are gone.
func (m *Monitors) stop(mon *monitor) {
	mon.cancel()
	<-mon.done
	for _, obj := range mon.informer.GetStore().List() {
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			m.gone(mon.resource, o)
		}
	}
}

func (m *Monitors) stopAll() {
	m.mu.Lock()
	running := slices.Collect(maps.Values(m.running))
	m.mu.Unlock()
	for _, mon := range running {
		mon.cancel()
	}
	for _, mon := range running {
		<-mon.done
	}
}

func (m *Monitors) handler(r Resource) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { m.observe(r, obj) },
		UpdateFunc: func(old, obj any) {
			// After a gap in the watch another object may have taken the
			// name; the end of the first one is told here only.
			was, isWas := old.(*metav1.PartialObjectMetadata)
			is, isIs := obj.(*metav1.PartialObjectMetadata)
			if isWas && isIs && was.UID != is.UID {
				m.gone(r, was)
			}
			m.observe(r, obj)
		},
		DeleteFunc: func(obj any) {
			if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = lost.Obj
			}
			if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
				m.gone(r, o)
			}
		},
	}
}

func (m *Monitors) observe(r Resource, obj any) {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return
	}
	for _, h := range m.handlers {
		h.Observe(r, o)
	}
	m.refreshFor(r)
}

func (m *Monitors) gone(r Resource, o *metav1.PartialObjectMetadata) {
	for _, h := range m.handlers {
		h.Gone(r, o)
	}
	m.refreshFor(r)
}

// refreshFor asks for a discovery where r is a kind of object that defines
// resources.
func (m *Monitors) refreshFor(r Resource) {
	switch r.GVR.GroupResource() {
	case schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}:
		m.Refresh()
	}
}

var errNotMetadata = errors.New("not a metadata object")

// slim drops what no handler reads.
func slim(obj any) (any, error) {
	o, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		if _, lost := obj.(cache.DeletedFinalStateUnknown); lost {
			return obj, nil
		}
		return nil, errNotMetadata
	}
	o.ManagedFields, o.Labels, o.Annotations = nil, nil, nil
	return o, nil
}
