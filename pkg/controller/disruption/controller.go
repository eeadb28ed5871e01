package disruption

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 2

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps the status of budgets.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	budgets  cache.Indexer
	pods     cache.Indexer
	// owners are the kinds that want a number of pods.
	owners  map[string]cache.Indexer
	synced  []cache.DoneChecker
	ready   chan struct{}
	queue   *work.Queue[string]
	written workload.Written
	// stale has the pods that may have to be calmed.
	stale *work.Queue[string]
}

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("disruption: no client, no informers or no recorder")
	}
	apps, core := o.Informers.Apps().V1(), o.Informers.Core().V1()
	budgets, pods := o.Informers.Policy().V1().PodDisruptionBudgets().Informer(), core.Pods().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder, budgets: budgets.GetIndexer(), pods: pods.GetIndexer(),
		owners: map[string]cache.Indexer{}, ready: make(chan struct{}), queue: work.New[string](o.Log),
		stale: work.New[string](o.Log),
	}
	watched := []workload.Watched{
		{Informer: budgets, Handler: workload.Owners(c.queue.Add)},
		{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(obj any) { c.podChanged(obj); c.threatened(obj) }, DeleteFunc: c.podChanged,
			UpdateFunc: func(was, now any) { c.podChanged(was); c.podChanged(now); c.threatened(now) },
		}},
	}
	for kind, i := range map[string]cache.SharedIndexInformer{
		"Deployment": apps.Deployments().Informer(), "ReplicaSet": apps.ReplicaSets().Informer(),
		"StatefulSet": apps.StatefulSets().Informer(), "ReplicationController": core.ReplicationControllers().Informer(),
	} {
		c.owners[kind] = i.GetIndexer()
		watched = append(watched, workload.Watched{Informer: i, Handler: cache.ResourceEventHandlerFuncs{UpdateFunc: c.ownerChanged}})
	}
	var err error
	if c.synced, err = workload.Watch(watched...); err != nil {
		return nil, fmt.Errorf("disruption: %w", err)
	}
	return c, nil
}

// podChanged wakes the budgets that select a pod.
func (c *Controller) podChanged(obj any) {
	p, ok := workload.Last[*corev1.Pod](obj)
	if !ok {
		return
	}
	for _, b := range c.inNamespace(p.Namespace) {
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(labels.Set(p.Labels)) {
			c.queue.Add(workload.Key(b))
		}
	}
}

// ownerChanged wakes the budgets of a namespace when a workload is scaled.
func (c *Controller) ownerChanged(was, now any) {
	a, okA := was.(metav1.Object)
	b, okB := now.(metav1.Object)
	if !okA || !okB || a.GetGeneration() == b.GetGeneration() {
		return
	}
	for _, budget := range c.inNamespace(b.GetNamespace()) {
		c.queue.Add(workload.Key(budget))
	}
}

func (c *Controller) inNamespace(namespace string) []*policyv1.PodDisruptionBudget {
	return workload.InNamespace[*policyv1.PodDisruptionBudget](c.budgets, namespace)
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	close(c.ready)
	var all sync.WaitGroup
	all.Go(func() { c.queue.Run(ctx, workers, c.sync) })
	all.Go(func() { c.stale.Run(ctx, 1, c.calm) })
	all.Wait()
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.budgets.GetByKey(key)
	b, ok := obj.(*policyv1.PodDisruptionBudget)
	if err != nil || !exists || !ok {
		c.written.Forget(key)
		return err
	}
	if c.written.Stale(b) {
		return nil
	}
	d := Decide(b, c.selected(b), c.scaleIn(b.Namespace), time.Now())
	if !apiequality.Semantic.DeepEqual(d.Status, b.Status) {
		next := b.DeepCopy()
		next.Status = d.Status
		now, err := c.client.PolicyV1().PodDisruptionBudgets(b.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
		if err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return workload.Outdated(err)
		}
		c.written.Note(now)
		c.record(b, d.Events)
	}
	if d.After > 0 {
		c.queue.AddAfter(key, d.After)
	}
	return nil
}

func (c *Controller) record(b *policyv1.PodDisruptionBudget, events []Event) {
	for _, e := range events {
		if e.Pod != nil {
			c.recorder.Event(e.Pod, e.Type, e.Reason, e.Message)
		} else {
			c.recorder.Event(b, e.Type, e.Reason, e.Message)
		}
	}
}

func (c *Controller) selected(b *policyv1.PodDisruptionBudget) []*corev1.Pod {
	s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil // validation refuses such a selector
	}
	return workload.PodsOf(workload.InNamespace[*corev1.Pod](c.pods, b.Namespace),
		func(p *corev1.Pod) bool { return s.Matches(labels.Set(p.Labels)) })
}

// scaleIn finds what the controllers of a namespace want.
func (c *Controller) scaleIn(namespace string) Scale {
	return func(ref *metav1.OwnerReference) (types.UID, int32, bool) {
		index := c.owners[ref.Kind]
		if index == nil {
			return "", 0, false
		}
		obj, exists, err := index.GetByKey(namespace + "/" + ref.Name)
		o, ok := obj.(metav1.Object)
		if err != nil || !exists || !ok || o.GetUID() != ref.UID {
			return "", 0, false
		}
		if up := metav1.GetControllerOfNoCopy(o); up != nil && ref.Kind == "ReplicaSet" && up.Kind == "Deployment" {
			return c.scaleIn(namespace)(up)
		}
		return o.GetUID(), replicas(o), true
	}
}

func replicas(o metav1.Object) int32 {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return ptr.Deref(o.Spec.Replicas, 1)
	case *appsv1.ReplicaSet:
		return ptr.Deref(o.Spec.Replicas, 1)
	case *appsv1.StatefulSet:
		return ptr.Deref(o.Spec.Replicas, 1)
	case *corev1.ReplicationController:
		return ptr.Deref(o.Spec.Replicas, 1)
	}
	return 0
}
