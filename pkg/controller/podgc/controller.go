// Package podgc deletes pods that nobody else would: those whose node is gone,
// those that were deleted before they had one, and the oldest of very many that
// have ended. It must not touch a pod that a node may still report on.
package podgc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	// DefaultThreshold is how many terminated pods are kept, as in
	// Kubernetes.
	DefaultThreshold = 12500
	// Quarantine is how long a node has to be missing before its pods go: it
	// may be on its way back under the same name.
	Quarantine = 40 * time.Second

	workers = 4
	// gather is how long a surplus of terminated pods may last.
	gather = time.Second
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Threshold is how many terminated pods are kept: 0 means
	// DefaultThreshold, less than 0 all.
	Threshold int
	// Log may be nil.
	Log *zap.Logger
}

// key is what a worker looks at: a pod, a node that is missing, or, if both are
// empty, the number of terminated pods.
type key struct{ pod, node string }

// Controller deletes such pods.
type Controller struct {
	client    kubernetes.Interface
	pods      cache.Indexer
	nodes     cache.Indexer
	threshold int
	synced    []cache.DoneChecker
	ready     chan struct{}
	queue     *work.Queue[key]
	log       *zap.Logger

	mu sync.Mutex
	// missing has the nodes that pods name and that do not exist, with the
	// time at which that was first seen.
	missing map[string]time.Time
	// ended are the keys of the terminated pods.
	ended map[string]struct{}
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil {
		return nil, errors.New("podgc: no client or no informers")
	}
	pods, nodes := o.Informers.Core().V1().Pods().Informer(), o.Informers.Core().V1().Nodes().Informer()
	c := &Controller{
		client:    o.Client,
		pods:      pods.GetIndexer(),
		nodes:     nodes.GetIndexer(),
		threshold: o.Threshold,
		ready:     make(chan struct{}),
		log:       o.Log,
		missing:   map[string]time.Time{},
		ended:     map[string]struct{}{},
	}
	if c.threshold == 0 {
		c.threshold = DefaultThreshold
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	c.queue = work.New[key](c.log)
	if err := workload.IndexByNode(pods); err != nil {
		return nil, fmt.Errorf("podgc: index pods: %w", err)
	}
	podsReg, err := pods.AddEventHandler(c.podHandler())
	if err != nil {
		return nil, fmt.Errorf("podgc: watch pods: %w", err)
	}
	nodesReg, err := nodes.AddEventHandler(c.nodeHandler())
	if err != nil {
		return nil, fmt.Errorf("podgc: watch nodes: %w", err)
	}
	c.synced = []cache.DoneChecker{podsReg.HasSyncedChecker(), nodesReg.HasSyncedChecker()}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	for _, s := range c.synced {
		select {
		case <-s.Done():
		case <-ctx.Done():
			return nil
		}
	}
	// The pods may have come before their nodes did.
	for _, node := range c.pods.ListIndexFuncValues(workload.ByNode) {
		c.checkNode(node)
	}
	close(c.ready)
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows all pods and nodes.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) podHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.lookAtPod(obj) },
		UpdateFunc: func(_, obj any) { c.lookAtPod(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.ended, name)
			}
		},
	}
}

func (c *Controller) lookAtPod(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	name := cache.ObjectName{Namespace: p.Namespace, Name: p.Name}.String()
	if Abandoned(p) {
		c.queue.Add(key{pod: name})
	}
	if p.Spec.NodeName != "" {
		c.checkNode(p.Spec.NodeName)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !Terminated(p) {
		delete(c.ended, name)
		return
	}
	c.ended[name] = struct{}{}
	if c.threshold > 0 && len(c.ended) > c.threshold {
		c.queue.AddAfter(key{}, gather)
	}
}

func (c *Controller) nodeHandler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if n, ok := obj.(*corev1.Node); ok {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.missing, n.Name)
			}
		},
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				c.checkNode(name)
			}
		},
	}
}

// checkNode puts a node that does not exist into quarantine.
func (c *Controller) checkNode(name string) {
	if _, exists, err := c.nodes.GetByKey(name); err != nil || exists {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.missing[name]; !known {
		c.missing[name] = time.Now()
		c.queue.AddAfter(key{node: name}, Quarantine)
	}
}

func (c *Controller) sync(ctx context.Context, k key) error {
	switch {
	case k.node != "":
		return c.syncNode(ctx, k.node)
	case k.pod != "":
		return c.syncPod(ctx, k.pod)
	}
	return c.syncTerminated(ctx)
}

// syncNode deletes the pods of a node that is still missing when its
// quarantine is over.
func (c *Controller) syncNode(ctx context.Context, name string) error {
	c.mu.Lock()
	since, missing := c.missing[name]
	c.mu.Unlock()
	if !missing {
		return nil
	}
	if left := Quarantine - time.Since(since); left > 0 {
		c.queue.AddAfter(key{node: name}, left)
		return nil
	}
	_, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return work.ErrWaiting // the watch lags behind
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get node %s: %w", name, err)
	}
	objs, err := c.pods.ByIndex(workload.ByNode, name)
	if err != nil {
		return fmt.Errorf("pods of node %s: %w", name, err)
	}
	var errs []error
	for _, obj := range objs {
		if p, ok := obj.(*corev1.Pod); ok {
			errs = append(errs, c.deleteOrphan(ctx, p))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A pod that comes later starts another quarantine.
	delete(c.missing, name)
	return nil
}

// deleteOrphan ends a pod in the name of the node that cannot.
func (c *Controller) deleteOrphan(ctx context.Context, p *corev1.Pod) error {
	if status, changed := disrupted(p, metav1.Now()); changed {
		q := p.DeepCopy()
		q.Status = status
		if _, err := c.client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, q, metav1.UpdateOptions{}); err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("fail pod %s/%s: %w", p.Namespace, p.Name, err)
		}
	}
	return c.delete(ctx, p, "its node does not exist")
}

func (c *Controller) syncPod(ctx context.Context, name string) error {
	obj, exists, err := c.pods.GetByKey(name)
	if err != nil || !exists {
		return err
	}
	if p, ok := obj.(*corev1.Pod); ok && Abandoned(p) {
		return c.delete(ctx, p, "it is being deleted and has no node")
	}
	return nil
}

func (c *Controller) syncTerminated(ctx context.Context) error {
	var terminated []*corev1.Pod
	for _, obj := range c.pods.List() {
		if p, ok := obj.(*corev1.Pod); ok && Terminated(p) {
			terminated = append(terminated, p)
		}
	}
	var errs []error
	for _, p := range Excess(terminated, c.threshold) {
		errs = append(errs, c.delete(ctx, p, "too many terminated pods"))
	}
	return errors.Join(errs...)
}

// delete removes the pod at once: no node has to agree.
func (c *Controller) delete(ctx context.Context, p *corev1.Pod, why string) error {
	c.log.Info("deleting pod", zap.String("pod", p.Namespace+"/"+p.Name), zap.String("uid", string(p.UID)), zap.String("why", why))
	err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      &metav1.Preconditions{UID: &p.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
