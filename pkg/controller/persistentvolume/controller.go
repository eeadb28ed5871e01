package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	storagevolume "k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/controller/claims"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Growth tells of claims that are to grow; default Recorder.
	Growth record.EventRecorder
	// Remove removes a directory below /tmp; default: from the disk.
	Remove func(path string) error
	// Log may be nil.
	Log *zap.Logger
}

// key names a claim, or, without a namespace, a volume.
type key struct{ namespace, name string }

// everything is the index by which all volumes are found, with what has been
// written and not been seen yet.
const everything = "carob-all"

// seen is how long a write may stay unseen by the watch.
const seen = time.Minute

// mostSteps bounds the writes for one object in a row.
const mostSteps = 8

// Controller binds claims. It has one worker: two that look for a volume at the
// same time would want the same one.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	volumes  cache.Indexer
	claims   cache.Indexer
	classes  cache.Indexer
	pods     cache.Indexer
	// newVolumes and newClaims are what the watch has told, and what was
	// written since.
	newVolumes, newClaims cache.MutationCache
	synced                []cache.DoneChecker
	ready                 chan struct{}
	queue                 *work.Queue[key]
	// growing are claims of which it may have to be told that they wait to
	// grow.
	growing *work.Queue[key]
	growth  record.EventRecorder
	remove  func(path string) error
}

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("persistentvolume: no client, no informers or no recorder")
	}
	core := o.Informers.Core().V1()
	volumes, wanted, pods := core.PersistentVolumes().Informer(), core.PersistentVolumeClaims().Informer(), core.Pods().Informer()
	classes := o.Informers.Storage().V1().StorageClasses().Informer()
	if err := claims.Index(pods); err != nil {
		return nil, fmt.Errorf("persistentvolume: %w", err)
	}
	if err := volumes.AddIndexers(cache.Indexers{everything: func(any) ([]string, error) { return []string{everything}, nil }}); err != nil {
		return nil, fmt.Errorf("persistentvolume: %w", err)
	}
	c := &Controller{
		client: o.Client, recorder: o.Recorder, volumes: volumes.GetIndexer(), claims: wanted.GetIndexer(),
		classes: classes.GetIndexer(), pods: pods.GetIndexer(), ready: make(chan struct{}), queue: work.New[key](o.Log),
		growing: work.New[key](o.Log), growth: o.Growth, remove: o.Remove,
	}
	if c.growth == nil {
		c.growth = o.Recorder
	}
	if c.remove == nil {
		c.remove = func(path string) error { return removeTemporary(temporaryRoot, path) }
	}
	c.newVolumes = cache.NewIntegerResourceVersionMutationCache(klog.Background(), c.volumes, c.volumes, seen, false)
	c.newClaims = cache.NewIntegerResourceVersionMutationCache(klog.Background(), c.claims, c.claims, seen, false)
	var err error
	c.synced, err = workload.Watch(
		workload.Watched{Informer: volumes, Handler: claims.Funcs(c.volumeChanged)},
		workload.Watched{Informer: wanted, Handler: claims.Funcs(c.claimChanged)},
		workload.Watched{Informer: wanted, Handler: cache.ResourceEventHandlerFuncs{AddFunc: c.mayGrow, UpdateFunc: c.grown}},
		workload.Watched{Informer: classes, Handler: claims.Funcs(func(any) { c.wakeUnbound() })},
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{AddFunc: c.podAdded}},
	)
	if err != nil {
		return nil, fmt.Errorf("persistentvolume: %w", err)
	}
	return c, nil
}

func (c *Controller) volumeChanged(obj any) {
	v, ok := obj.(*corev1.PersistentVolume)
	if !ok {
		return
	}
	c.queue.Add(key{name: v.Name})
	if ref := v.Spec.ClaimRef; ref != nil {
		c.queue.Add(key{ref.Namespace, ref.Name})
	} else {
		c.wakeUnbound()
	}
	// Claims that name the volume, wherever its own reference points.
	for _, obj := range c.claims.List() {
		if p, ok := obj.(*corev1.PersistentVolumeClaim); ok && p.Spec.VolumeName == v.Name {
			c.queue.Add(key{p.Namespace, p.Name})
		}
	}
}

func (c *Controller) claimChanged(obj any) {
	p, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	c.queue.Add(key{p.Namespace, p.Name})
	for _, v := range c.allVolumes() {
		if ref := v.Spec.ClaimRef; ref != nil && ref.Namespace == p.Namespace && ref.Name == p.Name {
			c.queue.Add(key{name: v.Name})
		}
	}
}

// wakeUnbound looks at every claim that waits: there is a volume or a class
// that may be for it.
func (c *Controller) wakeUnbound() {
	for _, obj := range c.claims.List() {
		if p, ok := obj.(*corev1.PersistentVolumeClaim); ok && !metav1.HasAnnotation(p.ObjectMeta, storagevolume.AnnBindCompleted) {
			c.queue.Add(key{p.Namespace, p.Name})
		}
	}
}

func (c *Controller) podAdded(obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok || p.Spec.NodeName != "" {
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
	var wg sync.WaitGroup
	wg.Go(func() { c.growing.Run(ctx, 1, c.tellGrowth) })
	c.queue.Run(ctx, 1, c.sync)
	wg.Wait()
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// sync takes the steps for one object, one write at a time, until none is left.
func (c *Controller) sync(ctx context.Context, k key) error {
	for range mostSteps {
		step := c.decide(k)
		if step.Delete != nil {
			return workload.Outdated(c.deleteVolume(ctx, step.Delete))
		}
		if err := c.write(ctx, &step); err != nil {
			return workload.Outdated(err)
		}
		c.tell(step)
		if step.Wake != nil {
			c.queue.Add(key{step.Wake.Namespace, step.Wake.Name})
		}
		if !step.Writes() {
			return nil
		}
	}
	return work.ErrWaiting
}

func (c *Controller) decide(k key) Step {
	w := &World{Volumes: c.allVolumes(), Claim: c.claimOf, Class: c.class, Default: c.byDefault(), Unscheduled: c.unscheduled}
	if k.namespace == "" {
		if v := w.volume(k.name); v != nil {
			return ForVolume(v, w)
		}
		return Step{}
	}
	if p := c.claimOf(k.namespace, k.name); p != nil {
		return ForClaim(p, w)
	}
	return Step{}
}

// tell records the events of a step.
func (c *Controller) tell(s Step) {
	for _, e := range s.Events {
		c.recorder.Event(e.About, e.Type, e.Reason, e.Message)
	}
}

// write writes what the step says. Each write carries the version that was
// decided on, so one that is outdated fails and is decided anew.
func (c *Controller) write(ctx context.Context, s *Step) error {
	core, o := c.client.CoreV1(), metav1.UpdateOptions{}
	switch {
	case s.Volume != nil:
		return c.wroteVolume(core.PersistentVolumes().Update(ctx, s.Volume, o))
	case s.VolumeStatus != nil:
		return c.wroteVolume(core.PersistentVolumes().UpdateStatus(ctx, s.VolumeStatus, o))
	case s.Claim != nil:
		return c.wroteClaim(core.PersistentVolumeClaims(s.Claim.Namespace).Update(ctx, s.Claim, o))
	case s.ClaimStatus != nil:
		return c.wroteClaim(core.PersistentVolumeClaims(s.ClaimStatus.Namespace).UpdateStatus(ctx, s.ClaimStatus, o))
	}
	return nil
}

func (c *Controller) wroteVolume(v *corev1.PersistentVolume, err error) error {
	if err != nil {
		return gone(err)
	}
	c.newVolumes.Mutation(v)
	return nil
}

func (c *Controller) wroteClaim(p *corev1.PersistentVolumeClaim, err error) error {
	if err != nil {
		return gone(err)
	}
	c.newClaims.Mutation(p)
	return nil
}

// gone makes the absence of an object that was to be written something to be
// seen by the watch soon.
func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%w: %w", work.ErrWaiting, err)
	}
	return err
}

func (c *Controller) allVolumes() []*corev1.PersistentVolume {
	found, err := c.newVolumes.ByIndex(everything, everything)
	if err != nil {
		return nil
	}
	out := make([]*corev1.PersistentVolume, 0, len(found))
	for _, obj := range found {
		if v, ok := obj.(*corev1.PersistentVolume); ok {
			out = append(out, v)
		}
	}
	return out
}

func (c *Controller) claimOf(namespace, name string) *corev1.PersistentVolumeClaim {
	obj, exists, err := c.newClaims.GetByKey(namespace + "/" + name)
	if p, ok := obj.(*corev1.PersistentVolumeClaim); err == nil && exists && ok {
		return p
	}
	return nil
}

func (c *Controller) class(name string) *storagev1.StorageClass {
	obj, exists, err := c.classes.GetByKey(name)
	if s, ok := obj.(*storagev1.StorageClass); err == nil && exists && ok {
		return s
	}
	return nil
}

func (c *Controller) byDefault() *storagev1.StorageClass {
	var all []*storagev1.StorageClass
	for _, obj := range c.classes.List() {
		if s, ok := obj.(*storagev1.StorageClass); ok {
			all = append(all, s)
		}
	}
	return claim.DefaultClass(all)
}

func (c *Controller) unscheduled(p *corev1.PersistentVolumeClaim) []string {
	var out []string
	for _, pod := range claims.Users(c.pods, p) {
		if pod.Spec.NodeName == "" {
			out = append(out, pod.Name)
		}
	}
	slices.Sort(out)
	return out
}
