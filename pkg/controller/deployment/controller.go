// Package deployment moves a Deployment's pods from one template to the next,
// by sizing ReplicaSets. What it decides is pure: plan.go, scale.go, status.go.
package deployment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 4

func controllerKind() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("Deployment")
}

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps Deployments.
type Controller struct {
	client      kubernetes.Interface
	recorder    record.EventRecorder
	log         *zap.Logger
	deployments cache.Indexer
	sets        cache.Indexer
	pods        cache.Indexer
	synced      []cache.DoneChecker
	ready       chan struct{}
	queue       *work.Queue[string]
	// Versions that this controller wrote.
	writtenSets, written workload.Written
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("deployment: no client, no informers or no recorder")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	apps := o.Informers.Apps().V1()
	deployments, sets, pods := apps.Deployments().Informer(), apps.ReplicaSets().Informer(), o.Informers.Core().V1().Pods().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder, log: o.Log,
		deployments: deployments.GetIndexer(), sets: sets.GetIndexer(), pods: pods.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log),
	}
	for _, i := range []cache.SharedIndexInformer{sets, pods} {
		if err := workload.IndexByOwner(i); err != nil {
			return nil, fmt.Errorf("deployment: %w", err)
		}
	}
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: deployments, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: sets, Handler: workload.Handler[*appsv1.ReplicaSet]{Kind: controllerKind().GroupKind(), Wake: c.queue.Add, Orphan: c.orphan}.Funcs()},
		workload.Watched{Informer: sets, Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: func(obj any) {
			if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				c.writtenSets.Forget(key)
			}
		}}},
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{
			UpdateFunc: func(was, now any) {
				c.podEnds(was, now)
				c.podCrashes(was, now)
			},
			DeleteFunc: func(obj any) { c.podEnds(obj, nil) },
		}},
	); err != nil {
		return nil, fmt.Errorf("deployment: %w", err)
	}
	return c, nil
}

// orphan wakes those that may adopt the set.
func (c *Controller) orphan(rs *appsv1.ReplicaSet) {
	for _, o := range workload.Adopters(c.deployments, rs, func(o *appsv1.Deployment) *metav1.LabelSelector { return o.Spec.Selector }) {
		c.queue.Add(workload.Key(o))
	}
}

// podEnds wakes a Recreate deployment, which waits for its old pods to end.
func (c *Controller) podEnds(was, now any) {
	p, ok := workload.Last[*corev1.Pod](was)
	if !ok {
		return
	}
	if n, ok := now.(*corev1.Pod); ok && (!workload.Terminated(n) || workload.Terminated(p)) {
		return
	}
	if d := c.ownerOf(p); d != nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		c.queue.Add(workload.Key(d))
	}
}

// podCrashes wakes a deployment that wants to return when its pods crash.
func (c *Controller) podCrashes(was, now any) {
	p, okP := was.(*corev1.Pod)
	n, okN := now.(*corev1.Pod)
	if !okP || !okN || rollback.CrashLoop(n) == "" || rollback.CrashLoop(p) != "" {
		return
	}
	if d := c.ownerOf(n); d != nil && rollback.Wanted(d.Annotations) {
		c.queue.Add(workload.Key(d))
	}
}

// ownerOf returns the deployment that a pod is of, through its set, or nil.
func (c *Controller) ownerOf(p *corev1.Pod) *appsv1.Deployment {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	obj, exists, err := c.sets.GetByKey(p.Namespace + "/" + ref.Name)
	rs, ok := obj.(*appsv1.ReplicaSet)
	if err != nil || !exists || !ok {
		return nil
	}
	if owner := metav1.GetControllerOfNoCopy(rs); owner != nil && owner.Kind == "Deployment" {
		return c.get(rs.Namespace + "/" + owner.Name)
	}
	return nil
}

func (c *Controller) podsOf(rs *appsv1.ReplicaSet) []*corev1.Pod {
	pods, err := workload.OwnedBy[*corev1.Pod](c.pods, rs.UID)
	if err != nil {
		return nil
	}
	return pods
}

func (c *Controller) get(key string) *appsv1.Deployment {
	obj, exists, err := c.deployments.GetByKey(key)
	if err != nil || !exists {
		return nil
	}
	d, _ := obj.(*appsv1.Deployment)
	return d
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
	d := c.get(key)
	if d == nil {
		c.written.Forget(key)
		return nil
	}
	if c.written.Stale(d) {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil //nolint:nilerr // validation refuses such a selector
	}
	all, err := workload.OwnedOrOrphaned[*appsv1.ReplicaSet](c.sets, d)
	if err != nil {
		return err
	}
	sets, err := workload.Settle(ctx, d, *metav1.NewControllerRef(d, controllerKind()), workload.Claim(d, selector, all),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().Deployments(d.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, rs metav1.Object, patch []byte) error {
			_, err := c.client.AppsV1().ReplicaSets(rs.GetNamespace()).Patch(ctx, rs.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{})
			return err
		})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(sets, func(rs *appsv1.ReplicaSet) bool { return c.writtenSets.Stale(rs) }) {
		return nil
	}
	plan := Decide(Input{Deployment: d, Sets: sets, Now: time.Now(), OldPods: func(except string) bool { return c.oldPods(sets, except) }, Pods: c.podsOf})
	if err := c.carryOut(ctx, d, plan); err != nil {
		return workload.Outdated(err)
	}
	if plan.After > 0 {
		c.queue.AddAfter(key, plan.After)
	}
	return nil
}

func (c *Controller) oldPods(sets []*appsv1.ReplicaSet, except string) bool {
	for _, rs := range sets {
		if rs.Name == except {
			continue
		}
		pods, err := workload.OwnedBy[*corev1.Pod](c.pods, rs.UID)
		if err != nil {
			return true
		}
		for _, p := range pods {
			if !workload.Terminated(p) {
				return true
			}
		}
	}
	return false
}
