// Package namespace empties namespaces that are being deleted, and lets them go
// when nothing is left in them: pods first, each with its grace, then all else.
// What it saw it tells in the namespace's conditions. It must not know any
// kind of object by name but pods and namespaces.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/resources"
	"github.com/carob-project/carob/pkg/controller/work"
)

const (
	workers = 4
	// gather is how long after an object has gone the next round begins:
	// objects go in swarms.
	gather = 20 * time.Millisecond
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Informers informers.SharedInformerFactory
	// Monitors tell when something has gone from a namespace. They must not
	// have been started yet.
	Monitors *resources.Monitors
	// Log may be nil.
	Log *zap.Logger
}

// Controller serves the deletion of namespaces.
type Controller struct {
	client     kubernetes.Interface
	metadata   metadata.Interface
	namespaces cache.Indexer
	synced     cache.DoneChecker
	queue      *work.Queue[string]
	log        *zap.Logger
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Metadata == nil || o.Informers == nil || o.Monitors == nil {
		return nil, errors.New("namespace: a client, the informers or the monitors are missing")
	}
	c := &Controller{client: o.Client, metadata: o.Metadata, log: o.Log}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	c.queue = work.New[string](c.log)
	informer := o.Informers.Core().V1().Namespaces().Informer()
	c.namespaces = informer.GetIndexer()
	reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.look(obj) },
		UpdateFunc: func(_, obj any) { c.look(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("namespace: watch namespaces: %w", err)
	}
	c.synced = reg.HasSyncedChecker()
	o.Monitors.Subscribe(c)
	return c, nil
}

// Run serves deletions until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows all namespaces.
func (c *Controller) Ready() <-chan struct{} { return c.synced.Done() }

func (c *Controller) look(obj any) {
	if ns, ok := obj.(*corev1.Namespace); ok && due(ns) {
		c.queue.Add(ns.Name)
	}
}

// due reports whether the namespace is being deleted and waits for us.
func due(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp != nil && slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes)
}

// Observe implements resources.Handler. What comes into a namespace that is
// being deleted is found by the next round.
func (c *Controller) Observe(resources.Resource, *metav1.PartialObjectMetadata) {}

// Gone implements resources.Handler.
func (c *Controller) Gone(_ resources.Resource, o *metav1.PartialObjectMetadata) {
	if o.Namespace == "" {
		return
	}
	obj, known, err := c.namespaces.GetByKey(o.Namespace)
	if err != nil || !known {
		return
	}
	if ns, ok := obj.(*corev1.Namespace); ok && due(ns) {
		c.queue.AddAfter(ns.Name, gather)
	}
}

// sync makes one round for a namespace.
func (c *Controller) sync(ctx context.Context, name string) error {
	ns, err := c.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get namespace %s: %w", name, err)
	}
	if !due(ns) {
		return nil
	}
	outcome := c.empty(ctx, name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ns, err = c.report(ctx, ns, outcome)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return work.ErrWaiting
	case err != nil:
		return err
	case !outcome.Empty():
		if err := errors.Join(append(outcome.Deletion, outcome.Discovery)...); err != nil {
			return fmt.Errorf("empty namespace %s: %w", name, err)
		}
		// The last object's end brings us back; the back-off is for what
		// nobody watches.
		return work.ErrWaiting
	}
	return c.finalize(ctx, ns)
}

// report writes the conditions where they changed.
func (c *Controller) report(ctx context.Context, ns *corev1.Namespace, o Outcome) (*corev1.Namespace, error) {
	conditions, changed := Conditions(ns.Status.Conditions, o, metav1.Now())
	if !changed && ns.Status.Phase == corev1.NamespaceTerminating {
		return ns, nil
	}
	if o.Empty() {
		return ns, nil // nobody could read it
	}
	ns = ns.DeepCopy()
	ns.Status.Phase = corev1.NamespaceTerminating
	ns.Status.Conditions = conditions
	out, err := c.client.CoreV1().Namespaces().UpdateStatus(ctx, ns, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("update status of namespace %s: %w", ns.Name, err)
	}
	return out, nil
}

// finalize lets the namespace go, unless somebody else's finalizer holds it.
func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	ns = ns.DeepCopy()
	ns.Spec.Finalizers = slices.DeleteFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	_, err := c.client.CoreV1().Namespaces().Finalize(ctx, ns, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsConflict(err):
		return work.ErrWaiting
	case err != nil:
		return fmt.Errorf("finalize namespace %s: %w", ns.Name, err)
	}
	c.log.Info("namespace emptied", zap.String("namespace", ns.Name))
	return nil
}
