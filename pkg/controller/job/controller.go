package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	workers = 4
	// gather is how long pods that end are waited for, so that one write of
	// the status counts many.
	gather = 50 * time.Millisecond
	// self is the value of spec.managedBy that names this controller.
	self = batchv1.JobControllerName
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller runs Jobs.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	hands    *workload.Hands
	jobs     cache.Indexer
	pods     cache.Indexer
	synced   []cache.DoneChecker
	ready    chan struct{}
	queue    *work.Queue[string]
	// strays are keys of pods that no Job is going to count.
	strays  *work.Queue[string]
	written workload.Written
	memory  memory
}

func kind() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("Job") }

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("job: no client, no informers or no recorder")
	}
	jobs, pods := o.Informers.Batch().V1().Jobs().Informer(), o.Informers.Core().V1().Pods().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder,
		hands: &workload.Hands{Client: o.Client, Recorder: o.Recorder, Pending: workload.NewPending()},
		jobs:  jobs.GetIndexer(), pods: pods.GetIndexer(), ready: make(chan struct{}),
		queue: work.New[string](o.Log), strays: work.New[string](o.Log),
	}
	if err := workload.IndexByOwner(pods); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: jobs, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: jobs, Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: c.jobGone}},
		workload.Watched{Informer: pods, Handler: workload.Handler[*corev1.Pod]{Kind: kind().GroupKind(), Pending: c.hands.Pending, Wake: c.wake, Orphan: c.orphan}.Funcs()},
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{AddFunc: c.podSeen, UpdateFunc: func(_, now any) { c.podSeen(now) }}},
	); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return c, nil
}

// wake makes a Job due whose pods changed.
func (c *Controller) wake(key string) { c.queue.AddAfter(key, gather) }

// orphan wakes those that may adopt the pod.
func (c *Controller) orphan(p *corev1.Pod) {
	for _, j := range c.adopters(p) {
		c.wake(workload.Key(j))
	}
}

// adopters are the Jobs whose selector finds the pod.
func (c *Controller) adopters(p *corev1.Pod) []*batchv1.Job {
	return workload.Adopters(c.jobs, p, func(j *batchv1.Job) *metav1.LabelSelector {
		if !ours(j) || Finished(j) || j.DeletionTimestamp != nil {
			return nil
		}
		return j.Spec.Selector
	})
}

// ours says whether this controller is to run the Job.
func ours(j *batchv1.Job) bool { return j.Spec.ManagedBy == nil || *j.Spec.ManagedBy == self }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	close(c.ready)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.strays.Run(ctx, 1, c.release)
	}()
	c.queue.Run(ctx, workers, c.sync)
	<-done
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) get(key string) *batchv1.Job {
	obj, exists, err := c.jobs.GetByKey(key)
	if err != nil || !exists {
		return nil
	}
	j, _ := obj.(*batchv1.Job)
	return j
}

func (c *Controller) sync(ctx context.Context, key string) error {
	j := c.get(key)
	switch {
	case j == nil:
		c.written.Forget(key)
		return nil
	case !ours(j) || c.written.Stale(j):
		return nil
	case Finished(j):
		c.memory.forget(j.UID)
		return c.expire(ctx, j)
	}
	// Both are asked for before the pods are read: what is written while they
	// are read is not missed.
	unseen := c.hands.Pending.Wait(j.UID)
	pods, err := c.claim(ctx, j)
	if err != nil {
		return err
	}
	released, backoff := c.memory.recall(j.UID, pods)
	now := time.Now()
	d := Decide(Observed{Job: j, Pods: pods, Released: released, Settled: unseen == 0, Backoff: backoff, Now: now})
	if err := c.carryOut(ctx, j, &d); err != nil {
		return workload.Outdated(err)
	}
	wait := unseen
	if !d.Wake.IsZero() {
		wait = workload.Sooner(wait, max(d.Wake.Sub(now), time.Millisecond))
	}
	if wait > 0 {
		c.queue.AddAfter(key, wait)
	}
	return nil
}
