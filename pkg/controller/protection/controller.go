package protection

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

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/controller/claims"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 2

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Log may be nil.
	Log *zap.Logger
}

// key names a claim, or, without a namespace, a volume.
type key struct{ namespace, name string }

// Controller protects claims and volumes.
type Controller struct {
	client                kubernetes.Interface
	claims, volumes, pods cache.Indexer
	synced                []cache.DoneChecker
	ready                 chan struct{}
	queue                 *work.Queue[key]
}

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil {
		return nil, errors.New("protection: no client or no informers")
	}
	core := o.Informers.Core().V1()
	volumes, wanted, pods := core.PersistentVolumes().Informer(), core.PersistentVolumeClaims().Informer(), core.Pods().Informer()
	if err := claims.Index(pods); err != nil {
		return nil, fmt.Errorf("protection: %w", err)
	}
	c := &Controller{
		client: o.Client, claims: wanted.GetIndexer(), volumes: volumes.GetIndexer(), pods: pods.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[key](o.Log),
	}
	look := func(obj any) {
		if m, ok := obj.(metav1.Object); ok {
			c.queue.Add(key{m.GetNamespace(), m.GetName()})
		}
	}
	var err error
	c.synced, err = workload.Watch(
		workload.Watched{Informer: volumes, Handler: claims.Funcs(look)},
		workload.Watched{Informer: wanted, Handler: claims.Funcs(look)},
		workload.Watched{Informer: pods, Handler: claims.Funcs(c.podChanged)},
	)
	if err != nil {
		return nil, fmt.Errorf("protection: %w", err)
	}
	return c, nil
}

func (c *Controller) podChanged(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	for _, name := range claim.Names(p) {
		c.queue.Add(key{p.Namespace, name})
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

func (c *Controller) sync(ctx context.Context, k key) error {
	var err error
	if k.namespace == "" {
		err = c.syncVolume(ctx, k.name)
	} else {
		err = c.syncClaim(ctx, k)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return workload.Outdated(err)
}

func (c *Controller) syncVolume(ctx context.Context, name string) error {
	obj, exists, err := c.volumes.GetByKey(name)
	v, ok := obj.(*corev1.PersistentVolume)
	if err != nil || !exists || !ok {
		return err
	}
	list, changed := finalizers(v, claim.VolumeProtection, v.Status.Phase == corev1.VolumeBound)
	if !changed {
		return nil
	}
	v = v.DeepCopy()
	v.Finalizers = list
	_, err = c.client.CoreV1().PersistentVolumes().Update(ctx, v, metav1.UpdateOptions{})
	return err
}

func (c *Controller) syncClaim(ctx context.Context, k key) error {
	obj, exists, err := c.claims.GetByKey(k.namespace + "/" + k.name)
	p, ok := obj.(*corev1.PersistentVolumeClaim)
	if err != nil || !exists || !ok {
		return err
	}
	api := c.client.CoreV1().PersistentVolumeClaims(k.namespace)
	users := claims.Users(c.pods, p)
	if next := withUse(p, users, metav1.Now()); next != nil {
		// The next version of the claim wakes this loop again.
		_, err := api.UpdateStatus(ctx, next, metav1.UpdateOptions{})
		return err
	}
	inUse := held(p, users)
	if p.DeletionTimestamp != nil && !inUse {
		// The watch may not know a pod that has just been given a node.
		if inUse, err = c.heldNow(ctx, p); err != nil {
			return err
		}
	}
	list, changed := finalizers(p, claim.ClaimProtection, inUse)
	if !changed {
		return nil
	}
	p = p.DeepCopy()
	p.Finalizers = list
	_, err = api.Update(ctx, p, metav1.UpdateOptions{})
	return err
}

// heldNow asks the API server whether a pod keeps the claim.
func (c *Controller) heldNow(ctx context.Context, p *corev1.PersistentVolumeClaim) (bool, error) {
	list, err := c.client.CoreV1().Pods(p.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return held(p, pods), nil
}
