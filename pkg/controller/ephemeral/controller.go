// Package ephemeral makes the claims of generic ephemeral volumes: each is its
// pod's, and goes with it.
package ephemeral

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/ephemeral"

	"github.com/carob-project/carob/pkg/controller/claims"
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

// Controller makes claims for pods.
type Controller struct {
	client       kubernetes.Interface
	recorder     record.EventRecorder
	pods, claims cache.Indexer
	synced       []cache.DoneChecker
	ready        chan struct{}
	queue        *work.Queue[string]
}

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("ephemeral: no client, no informers or no recorder")
	}
	pods, wanted := o.Informers.Core().V1().Pods().Informer(), o.Informers.Core().V1().PersistentVolumeClaims().Informer()
	if err := claims.Index(pods); err != nil {
		return nil, fmt.Errorf("ephemeral: %w", err)
	}
	c := &Controller{
		client: o.Client, recorder: o.Recorder, pods: pods.GetIndexer(), claims: wanted.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log),
	}
	var err error
	c.synced, err = workload.Watch(
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{AddFunc: c.podAdded}},
		workload.Watched{Informer: wanted, Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: c.claimDeleted}},
	)
	if err != nil {
		return nil, fmt.Errorf("ephemeral: %w", err)
	}
	return c, nil
}

func (c *Controller) podAdded(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok || p.DeletionTimestamp != nil {
		return
	}
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Ephemeral != nil {
			c.queue.Add(workload.Key(p))
			return
		}
	}
}

// claimDeleted looks at the pods that may need the name now.
func (c *Controller) claimDeleted(obj any) {
	gone, ok := workload.Last[*corev1.PersistentVolumeClaim](obj)
	if !ok {
		return
	}
	for _, p := range claims.Named(c.pods, gone) {
		c.podAdded(p)
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
	obj, exists, err := c.pods.GetByKey(key)
	p, ok := obj.(*corev1.Pod)
	if err != nil || !exists || !ok || p.DeletionTimestamp != nil {
		return err
	}
	var errs []error
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Ephemeral == nil {
			continue
		}
		if err := c.make(ctx, p, v); err != nil {
			c.recorder.Eventf(p, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", v.Name, err)
			errs = append(errs, fmt.Errorf("pod %s, ephemeral volume %s: %w", key, v.Name, err))
		}
	}
	return errors.Join(errs...)
}

// make makes the claim of one volume. Its name follows from the pod's and the
// volume's, so there is never a second one.
func (c *Controller) make(ctx context.Context, p *corev1.Pod, v *corev1.Volume) error {
	wanted := Claim(p, v)
	obj, exists, err := c.claims.GetByKey(workload.Key(wanted))
	if have, ok := obj.(*corev1.PersistentVolumeClaim); err == nil && exists && ok {
		return ephemeral.VolumeIsForPod(p, have)
	}
	_, err = c.client.CoreV1().PersistentVolumeClaims(p.Namespace).Create(ctx, wanted, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		have, err := c.client.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, wanted.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		return ephemeral.VolumeIsForPod(p, have)
	}
	if err != nil {
		return fmt.Errorf("create PVC %s: %w", wanted.Name, err)
	}
	return nil
}

// Claim is the claim of a pod's volume.
func Claim(p *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaim {
	template := v.Ephemeral.VolumeClaimTemplate
	yes := true
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: ephemeral.VolumeClaimName(p, v), Namespace: p.Namespace,
			Labels: maps.Clone(template.Labels), Annotations: maps.Clone(template.Annotations),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: &yes, BlockOwnerDeletion: &yes,
			}},
		},
		Spec: *template.Spec.DeepCopy(),
	}
}
