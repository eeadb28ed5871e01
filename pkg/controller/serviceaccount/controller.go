// Package serviceaccount sees to it that every active namespace has the
// ServiceAccount that pods get when they name none.
package serviceaccount

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
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/work"
)

// Name is the ServiceAccount that every namespace has.
const Name = "default"

const workers = 2

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// Log may be nil.
	Log *zap.Logger
}

// Controller creates default ServiceAccounts.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	accounts   corelisters.ServiceAccountLister
	synced     []cache.DoneChecker
	ready      chan struct{}
	queue      *work.Queue[string]
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil {
		return nil, errors.New("serviceaccount: no client or no informers")
	}
	core := o.Informers.Core().V1()
	c := &Controller{
		client:     o.Client,
		namespaces: core.Namespaces().Lister(),
		accounts:   core.ServiceAccounts().Lister(),
		ready:      make(chan struct{}),
		queue:      work.New[string](o.Log),
	}
	ns, err := core.Namespaces().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.namespace(obj) },
		UpdateFunc: func(_, obj any) { c.namespace(obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("serviceaccount: watch namespaces: %w", err)
	}
	accounts, err := core.ServiceAccounts().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(obj any) {
			if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = lost.Obj
			}
			if sa, ok := obj.(*corev1.ServiceAccount); ok && sa.Name == Name {
				c.queue.Add(sa.Namespace)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("serviceaccount: watch service accounts: %w", err)
	}
	c.synced = []cache.DoneChecker{ns.HasSyncedChecker(), accounts.HasSyncedChecker()}
	return c, nil
}

func (c *Controller) namespace(obj any) {
	if ns, ok := obj.(*corev1.Namespace); ok && Missing(ns, c.has(ns.Name)) {
		c.queue.Add(ns.Name)
	}
}

// Missing reports whether a namespace should get its ServiceAccount.
func Missing(ns *corev1.Namespace, has bool) bool {
	return !has && ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}

func (c *Controller) has(namespace string) bool {
	_, err := c.accounts.ServiceAccounts(namespace).Get(Name)
	return err == nil
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
	close(c.ready)
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, name string) error {
	ns, err := c.namespaces.Get(name)
	if err != nil || !Missing(ns, c.has(name)) {
		return nil //nolint:nilerr // the lister's only error is: not found
	}
	_, err = c.client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: Name},
	}, metav1.CreateOptions{})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err),
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	return fmt.Errorf("create service account %s/%s: %w", name, Name, err)
}
