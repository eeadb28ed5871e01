// Package serviceaccount sees to it that every active namespace has what gives
// pods an identity: the ServiceAccount that they get when they name none, and the
// ConfigMap that tells them whom to trust.
package serviceaccount

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// Name is the ServiceAccount that every namespace has.
const Name = "default"

const workers = 2

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	// RootCA is the certificate of the authority behind the API, in PEM.
	RootCA []byte
	// Log may be nil.
	Log *zap.Logger
}

// Controller creates default ServiceAccounts, and keeps the ConfigMaps with the
// root certificate.
type Controller struct {
	rootCA     string
	roots      cache.SharedIndexInformer
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
		rootCA:     string(o.RootCA),
		roots:      newRoots(o.Client),
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
			if sa, ok := workload.Last[*corev1.ServiceAccount](obj); ok && sa.Name == Name {
				c.queue.Add(sa.Namespace)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("serviceaccount: watch service accounts: %w", err)
	}
	roots, err := c.roots.AddEventHandler(c.rootHandler())
	if err != nil {
		return nil, fmt.Errorf("serviceaccount: watch root certificates: %w", err)
	}
	c.synced = []cache.DoneChecker{ns.HasSyncedChecker(), accounts.HasSyncedChecker(), roots.HasSyncedChecker()}
	return c, nil
}

func (c *Controller) namespace(obj any) {
	if ns, ok := obj.(*corev1.Namespace); ok && (Missing(ns, c.has(ns.Name)) || Missing(ns, c.root(ns.Name) != nil)) {
		c.queue.Add(ns.Name)
	}
}

// Missing reports whether a namespace should get what it does not have.
func Missing(ns *corev1.Namespace, has bool) bool {
	return !has && ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}

func (c *Controller) has(namespace string) bool {
	_, err := c.accounts.ServiceAccounts(namespace).Get(Name)
	return err == nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	var roots sync.WaitGroup
	defer roots.Wait()
	roots.Go(func() { c.roots.RunWithContext(ctx) })
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

// sync keeps the ConfigMap first: whoever sees the ServiceAccount may make pods,
// and these want both.
func (c *Controller) sync(ctx context.Context, name string) error {
	ns, err := c.namespaces.Get(name)
	if err != nil {
		return nil //nolint:nilerr // the lister's only error is: not found
	}
	if err := c.syncRoot(ctx, ns); err != nil || !Missing(ns, c.has(name)) {
		return err
	}
	_, err = c.client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: Name},
	}, metav1.CreateOptions{})
	if settled(err) {
		return nil
	}
	return fmt.Errorf("create service account %s/%s: %w", name, Name, err)
}

// settled says whether a creation came to its end: the object is there, or its
// namespace is going.
func settled(err error) bool {
	return err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
