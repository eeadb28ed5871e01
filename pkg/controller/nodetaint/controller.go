// Package nodetaint puts taints on nodes that follow from their conditions and
// from being cordoned, so that no pod is sent to a node that runs short of
// something. It must not touch the taints of others.
package nodetaint

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/work"
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Log may be nil.
	Log *zap.Logger
}

// Controller taints nodes.
type Controller struct {
	client kubernetes.Interface
	nodes  cache.Indexer
	synced cache.DoneChecker
	ready  chan struct{}
	queue  *work.Queue[string]
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil {
		return nil, errors.New("nodetaint: no client or no informers")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	nodes := o.Informers.Core().V1().Nodes().Informer()
	c := &Controller{
		client: o.Client, nodes: nodes.GetIndexer(), ready: make(chan struct{}), queue: work.New[string](o.Log),
	}
	look := func(obj any) {
		if n, ok := obj.(*corev1.Node); ok {
			if _, changed := Taints(n); changed {
				c.queue.Add(n.Name)
			}
		}
	}
	reg, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, now any) { look(now) },
	})
	if err != nil {
		return nil, fmt.Errorf("nodetaint: watch nodes: %w", err)
	}
	c.synced = reg.HasSyncedChecker()
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	select {
	case <-c.synced.Done():
	case <-ctx.Done():
		return nil
	}
	close(c.ready)
	c.queue.Run(ctx, 1, c.sync)
	return nil
}

// Ready is closed when the controller knows all nodes.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// sync brings the taints of one node up to date. A node that was changed
// meanwhile is looked at again.
func (c *Controller) sync(ctx context.Context, name string) error {
	obj, exists, err := c.nodes.GetByKey(name)
	n, ok := obj.(*corev1.Node)
	if err != nil || !exists || !ok {
		return err
	}
	taints, changed := Taints(n)
	if !changed {
		return nil
	}
	n = n.DeepCopy()
	n.Spec.Taints = taints
	_, err = c.client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{})
	switch {
	case apierrors.IsConflict(err):
		return work.ErrWaiting // the watch lags behind
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("taint node %s: %w", name, err)
	}
	return nil
}
