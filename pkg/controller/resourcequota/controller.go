package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/resources"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
	"github.com/carob-project/carob/pkg/quota"
)

const (
	workers = 2
	// resync is how often everything is added up anew: a creation that failed
	// after it was charged for leaves no trace.
	resync = 5 * time.Minute
)

var (
	claimResource = corev1.Resource("persistentvolumeclaims")
	quotaResource = corev1.Resource("resourcequotas")
)

// Monitors know the objects of all kinds.
type Monitors interface {
	Subscribe(resources.Handler)
	Ready() <-chan struct{}
	Set() resources.Set
	Count(r schema.GroupResource, namespace string) (int, bool)
}

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Informers informers.SharedInformerFactory
	Monitors  Monitors
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps the status of quotas.
type Controller struct {
	client   kubernetes.Interface
	metadata metadata.Interface
	monitors Monitors
	quotas   cache.Indexer
	// whole are the kinds of which more than the number matters, and quotas: each
	// counts itself, and is there before the monitors know of it.
	whole   map[schema.GroupResource]cache.Indexer
	synced  []cache.DoneChecker
	ready   chan struct{}
	queue   *work.Queue[string]
	written workload.Written

	mu      sync.Mutex
	seen    map[string]seen
	waiting map[string]time.Time // since when something could be taken off
}

// seen is what has been told of a quota: which version was the last, and when
// one said more use than the one before.
type seen struct {
	version string
	charged time.Time
	// owed: somebody waits for the next version.
	owed bool
}

// New makes the Controller; Run starts it. It subscribes to the monitors.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Metadata == nil || o.Informers == nil || o.Monitors == nil {
		return nil, errors.New("resourcequota: no client, no informers or no monitors")
	}
	core := o.Informers.Core().V1()
	quotas, pods, claims := core.ResourceQuotas().Informer(), core.Pods().Informer(), core.PersistentVolumeClaims().Informer()
	c := &Controller{
		client: o.Client, metadata: o.Metadata, monitors: o.Monitors, quotas: quotas.GetIndexer(),
		whole: map[schema.GroupResource]cache.Indexer{
			corev1.Resource("pods"): pods.GetIndexer(), claimResource: claims.GetIndexer(), quotaResource: quotas.GetIndexer(),
		},
		ready: make(chan struct{}), queue: work.New[string](o.Log),
		seen: map[string]seen{}, waiting: map[string]time.Time{},
	}
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: quotas, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: c.quotaCame, UpdateFunc: c.quotaChanged, DeleteFunc: c.quotaGone,
		}},
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: c.podCame, UpdateFunc: c.podChanged, DeleteFunc: c.podGone,
		}},
		workload.Watched{Informer: claims, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: c.claimCame, UpdateFunc: c.claimChanged, DeleteFunc: c.claimGone,
		}},
	); err != nil {
		return nil, fmt.Errorf("resourcequota: %w", err)
	}
	o.Monitors.Subscribe(c)
	return c, nil
}

func (c *Controller) quotaCame(obj any) {
	if q, ok := obj.(*corev1.ResourceQuota); ok {
		c.mu.Lock()
		c.seen[workload.Key(q)] = seen{version: q.ResourceVersion}
		c.mu.Unlock()
		c.queue.Add(workload.Key(q))
		c.wake(quotaResource, q.Namespace, calm)
	}
}

// quotaChanged notes when something was charged; only what somebody asks for
// makes work, not what was written into the status.
func (c *Controller) quotaChanged(old, obj any) {
	was, okOld := old.(*corev1.ResourceQuota)
	q, ok := obj.(*corev1.ResourceQuota)
	if !ok || !okOld || was.ResourceVersion == q.ResourceVersion {
		return
	}
	c.mu.Lock()
	before := c.seen[workload.Key(q)]
	now := seen{version: q.ResourceVersion, charged: before.charged}
	if Charged(was, q) {
		now.charged = time.Now()
	}
	c.seen[workload.Key(q)] = now
	c.mu.Unlock()
	if before.owed || was.UID != q.UID || !apiequality.Semantic.DeepEqual(was.Spec, q.Spec) || !quota.Equal(q.Spec.Hard, q.Status.Hard) {
		c.queue.Add(workload.Key(q))
	}
}

func (c *Controller) quotaGone(obj any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return
	}
	c.mu.Lock()
	delete(c.seen, key)
	delete(c.waiting, key)
	c.mu.Unlock()
	c.queue.Add(key)
	if q, ok := workload.Last[*corev1.ResourceQuota](obj); ok {
		c.wake(quotaResource, q.Namespace, 0)
	}
}

// podCame looks again soon: the API server may not have known of a quota yet.
func (c *Controller) podCame(obj any) {
	if p, ok := obj.(*corev1.Pod); ok {
		c.wake(corev1.Resource("pods"), p.Namespace, calm)
	}
}

func (c *Controller) podChanged(old, obj any) {
	was, okOld := old.(*corev1.Pod)
	p, ok := obj.(*corev1.Pod)
	if ok && okOld && was.ResourceVersion != p.ResourceVersion && len(c.inNamespace(p.Namespace)) > 0 &&
		(p.DeletionTimestamp != nil || Frees(was, p, time.Now())) {
		c.wake(corev1.Resource("pods"), p.Namespace, 0)
	}
}

func (c *Controller) podGone(obj any) {
	if p, ok := workload.Last[*corev1.Pod](obj); ok {
		c.wake(corev1.Resource("pods"), p.Namespace, 0)
	}
}

// claimCame is podCame for claims.
func (c *Controller) claimCame(obj any) {
	if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok {
		c.wake(claimResource, claim.Namespace, calm)
	}
}

// claimChanged: what a claim has been given can grow and shrink.
func (c *Controller) claimChanged(old, obj any) {
	was, okOld := old.(*corev1.PersistentVolumeClaim)
	now, ok := obj.(*corev1.PersistentVolumeClaim)
	if ok && okOld && was.ResourceVersion != now.ResourceVersion && ChangesClaim(was, now) {
		c.wake(claimResource, now.Namespace, 0)
	}
}

func (c *Controller) claimGone(obj any) {
	if claim, ok := workload.Last[*corev1.PersistentVolumeClaim](obj); ok {
		c.wake(claimResource, claim.Namespace, 0)
	}
}

// Observe implements resources.Handler. What comes has been charged for, unless it
// came just before the quota: then the monitors may not have known of it when
// everything was added up.
func (c *Controller) Observe(r resources.Resource, o *metav1.PartialObjectMetadata) {
	if gr := r.GVR.GroupResource(); r.Namespaced && c.whole[gr] == nil {
		c.wake(gr, o.Namespace, calm)
	}
}

// Gone implements resources.Handler.
func (c *Controller) Gone(r resources.Resource, o *metav1.PartialObjectMetadata) {
	if gr := r.GVR.GroupResource(); r.Namespaced && c.whole[gr] == nil {
		c.wake(gr, o.Namespace, 0)
	}
}

// wake has the quotas looked at that bound what objects of a kind use.
func (c *Controller) wake(r schema.GroupResource, namespace string, after time.Duration) {
	quotas := c.inNamespace(namespace)
	if len(quotas) == 0 {
		return
	}
	k := quota.For(r)
	for _, q := range quotas {
		if len(k.Tracked(quota.Names(q.Spec.Hard))) == 0 {
			continue
		}
		if after > 0 {
			c.queue.AddAfter(workload.Key(q), after)
		} else {
			c.queue.Add(workload.Key(q))
		}
	}
}

func (c *Controller) inNamespace(namespace string) []*corev1.ResourceQuota {
	return workload.InNamespace[*corev1.ResourceQuota](c.quotas, namespace)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	select {
	case <-c.monitors.Ready():
	case <-ctx.Done():
		return nil
	}
	close(c.ready)
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.quotas.GetByKey(key)
	q, ok := obj.(*corev1.ResourceQuota)
	if err != nil || !exists || !ok {
		c.written.Forget(key)
		return err
	}
	if c.written.Stale(q) {
		c.owe(key)
		return nil
	}
	now := time.Now()
	found, after, err := c.usage(ctx, q, now)
	if err != nil {
		return err
	}
	d := Decide(q, found, c.quiet(q, now), c.waited(key, now))
	c.note(key, d.After > 0, now)
	if d.Changes(q) {
		next := q.DeepCopy()
		next.Status = d.Status
		now, err := c.client.CoreV1().ResourceQuotas(q.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return workload.Outdated(err)
		}
		c.written.Note(now)
	}
	c.queue.AddAfter(key, workload.Sooner(workload.Sooner(d.After, after), resync))
	return nil
}

// quiet is for how long nothing has been charged to the quota. The cache may have
// a version of which this controller has not been told yet.
func (c *Controller) quiet(q *corev1.ResourceQuota, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.seen[workload.Key(q)]
	if s.version != q.ResourceVersion {
		return 0
	}
	return now.Sub(s.charged)
}

func (c *Controller) waited(key string, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if since, ok := c.waiting[key]; ok {
		return now.Sub(since)
	}
	return 0
}

func (c *Controller) note(key string, waits bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, already := c.waiting[key]; !waits {
		delete(c.waiting, key)
	} else if !already {
		c.waiting[key] = now
	}
}

// owe has the quota looked at when its next version is seen; if that has come in
// this very moment, a little later.
func (c *Controller) owe(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.seen[key]
	s.owed = true
	c.seen[key] = s
	c.queue.AddAfter(key, calm)
}

// usage adds up what is used, and says when that will change of itself.
func (c *Controller) usage(ctx context.Context, q *corev1.ResourceQuota, now time.Time) (corev1.ResourceList, time.Duration, error) {
	sum, after := corev1.ResourceList{}, time.Duration(0)
	for _, k := range Kinds(q.Spec.Hard) {
		if index := c.whole[k.Resource]; index != nil {
			objects, err := index.ByIndex(cache.NamespaceIndex, q.Namespace)
			if err != nil {
				return nil, 0, err
			}
			Sum(sum, k, q, objects, now)
			after = workload.Sooner(after, Overdue(objects, now))
			continue
		}
		n, served, err := c.count(ctx, k.Resource, q.Namespace)
		if err != nil {
			return nil, 0, err
		}
		if served || k.Resource == corev1.Resource("services") {
			SumCount(sum, k, q, n)
		}
	}
	return sum, after, nil
}

// count returns how many objects of a kind there are. One that nobody watches
// is asked for.
func (c *Controller) count(ctx context.Context, r schema.GroupResource, namespace string) (n int, served bool, err error) {
	if n, ok := c.monitors.Count(r, namespace); ok {
		return n, true, nil
	}
	for _, served := range c.monitors.Set().Preferred() {
		if served.GVR.GroupResource() != r || !served.Namespaced || !served.Can("list") {
			continue
		}
		list, err := c.metadata.Resource(served.GVR).Namespace(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return 0, true, err
		}
		n := len(list.Items)
		if more := list.RemainingItemCount; more != nil {
			n += int(*more)
		}
		return n, true, nil
	}
	return 0, false, nil
}
