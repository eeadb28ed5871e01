// Package replicaset keeps as many pods as a ReplicaSet, or a
// ReplicationController, wants. What it decides is in diff.go.
package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 4

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// source is where the objects come from that want replicas. All are handled
// in the form of a ReplicaSet.
type source interface {
	kind() schema.GroupVersionKind
	informer() cache.SharedIndexInformer
	// convert returns the object from the cache, and its original for events.
	convert(obj any) (*appsv1.ReplicaSet, workload.Owner, bool)
	// fresh reads the object past the cache.
	fresh(ctx context.Context, namespace, name string) (metav1.Object, error)
	// countsTerminating tells whether the kind's status has that number.
	countsTerminating() bool
	writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, s appsv1.ReplicaSetStatus) (metav1.Object, error)
}

// Controller keeps replicas.
type Controller struct {
	source source
	hands  *workload.Hands
	sets   cache.Indexer
	pods   cache.Indexer
	synced []cache.DoneChecker
	ready  chan struct{}
	queue  *work.Queue[string]
	// written are the versions that this controller wrote.
	written workload.Written
}

// New makes the Controller of ReplicaSets; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("replicaset: no client, no informers or no recorder")
	}
	return start(o, &replicaSets{client: o.Client, inf: o.Informers.Apps().V1().ReplicaSets().Informer()})
}

func start(o Options, s source) (*Controller, error) {
	sets, pods := s.informer(), o.Informers.Core().V1().Pods().Informer()
	c := &Controller{
		source: s,
		hands:  &workload.Hands{Client: o.Client, Recorder: o.Recorder, Pending: workload.NewPending()},
		sets:   sets.GetIndexer(),
		pods:   pods.GetIndexer(),
		ready:  make(chan struct{}),
		queue:  work.New[string](o.Log),
	}
	for _, i := range []cache.SharedIndexInformer{sets, pods} {
		if err := workload.IndexByOwner(i); err != nil {
			return nil, fmt.Errorf("replicaset: %w", err)
		}
	}
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: sets, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: pods, Handler: workload.Handler[*corev1.Pod]{
			Kind: s.kind().GroupKind(), Pending: c.hands.Pending, Wake: c.queue.Add, Orphan: c.orphan,
		}.Funcs()},
	); err != nil {
		return nil, fmt.Errorf("replicaset: %s: %w", s.kind().Kind, err)
	}
	return c, nil
}

// orphan wakes those that may adopt the pod.
func (c *Controller) orphan(p *corev1.Pod) {
	for _, o := range workload.Adopters(c.sets, p, func(o metav1.Object) *metav1.LabelSelector {
		rs, _, ok := c.source.convert(o)
		if !ok {
			return nil
		}
		return rs.Spec.Selector
	}) {
		c.queue.Add(workload.Key(o))
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	close(c.ready)
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.sets.GetByKey(key)
	if err != nil || !exists {
		c.written.Forget(key)
		return err
	}
	rs, owner, ok := c.source.convert(obj)
	if !ok || c.written.Stale(rs) {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation refuses such a selector
	}
	// The wait is asked for before the pods are read: what is written while
	// they are read is not missed.
	unseen := c.hands.Pending.Wait(rs.UID)
	mine, terminating, err := c.claim(ctx, rs, selector)
	if err != nil {
		return err
	}
	var failure error
	if unseen == 0 {
		failure = c.manage(ctx, rs, owner, mine)
	}
	status, again := Status(rs, mine, terminating, failure, time.Now())
	if !c.source.countsTerminating() {
		status.TerminatingReplicas = nil
	}
	if !apiequality.Semantic.DeepEqual(status, rs.Status) {
		if err := c.write(ctx, rs, status); err != nil {
			return workload.Outdated(err)
		}
	}
	if again = workload.Sooner(again, unseen); again > 0 {
		c.queue.AddAfter(key, again)
	}
	return failure
}

func (c *Controller) write(ctx context.Context, rs *appsv1.ReplicaSet, s appsv1.ReplicaSetStatus) error {
	now, err := c.source.writeStatus(ctx, rs, s)
	switch {
	case err == nil:
		c.written.Note(now)
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

// claim returns the active pods, and how many more are terminating.
func (c *Controller) claim(ctx context.Context, rs *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, int, error) {
	all, err := workload.OwnedOrOrphaned[*corev1.Pod](c.pods, rs)
	if err != nil {
		return nil, 0, err
	}
	leaving := workload.Claim(rs, selector, workload.PodsOf(all, workload.Terminating)).Mine
	claims := workload.Claim(rs, selector, workload.PodsOf(all, workload.Active))
	mine, err := workload.Settle(ctx, rs, *metav1.NewControllerRef(rs, c.source.kind()), claims,
		func(ctx context.Context) (metav1.Object, error) { return c.source.fresh(ctx, rs.Namespace, rs.Name) }, c.hands.PatchPod)
	return mine, len(leaving), err
}

func (c *Controller) manage(ctx context.Context, rs *appsv1.ReplicaSet, owner workload.Owner, active []*corev1.Pod) error {
	create, remove := Diff(rs, active, c.related(rs, active), time.Now())
	if len(remove) > 0 {
		return c.hands.Delete(ctx, owner, remove)
	}
	ref := *metav1.NewControllerRef(rs, c.source.kind())
	return c.hands.Make(ctx, owner, create, func() *corev1.Pod {
		p := workload.FromTemplate(&rs.Spec.Template, ref)
		p.GenerateName = rs.Name + "-"
		return p
	})
}

// related returns the pods of all that have the same controller as rs.
func (c *Controller) related(rs *appsv1.ReplicaSet, own []*corev1.Pod) []*corev1.Pod {
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil {
		return own
	}
	siblings, err := workload.OwnedBy[metav1.Object](c.sets, ref.UID)
	if err != nil {
		return own
	}
	var all []*corev1.Pod
	for _, s := range siblings {
		if pods, err := workload.OwnedBy[*corev1.Pod](c.pods, s.GetUID()); err == nil {
			all = append(all, pods...)
		}
	}
	return all
}
