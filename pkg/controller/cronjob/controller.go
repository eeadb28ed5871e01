package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	workers = 2
	// slack is waited beyond a scheduled time, for clocks that differ a bit.
	slack = 20 * time.Millisecond
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Clock, which may be nil, returns a channel that tells that somebody has
	// set the machine's clock.
	Clock func(context.Context) (<-chan struct{}, error)
	// Log may be nil.
	Log *zap.Logger
}

// Controller runs CronJobs.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	crons    cache.Indexer
	jobs     cache.Indexer
	synced   []cache.DoneChecker
	ready    chan struct{}
	queue    *work.Queue[string]
	clock    func(context.Context) (<-chan struct{}, error)
	written  workload.Written
}

// New makes the Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("cronjob: no client, no informers or no recorder")
	}
	crons, jobs := o.Informers.Batch().V1().CronJobs().Informer(), o.Informers.Batch().V1().Jobs().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder, crons: crons.GetIndexer(), jobs: jobs.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log), clock: o.Clock,
	}
	if err := workload.IndexByOwner(jobs); err != nil {
		return nil, fmt.Errorf("cronjob: %w", err)
	}
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: crons, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: jobs, Handler: workload.Handler[*batchv1.Job]{Kind: kind().GroupKind(), Wake: c.queue.Add}.Funcs()},
	); err != nil {
		return nil, fmt.Errorf("cronjob: %w", err)
	}
	return c, nil
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	var set <-chan struct{}
	if c.clock != nil {
		var err error
		if set, err = c.clock(ctx); err != nil {
			return err
		}
	}
	close(c.ready)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.follow(ctx, set)
	}()
	c.queue.Run(ctx, workers, c.sync)
	<-done
	return nil
}

// follow looks at every CronJob when the clock was set: waits are measured in
// time that has passed, schedules are not.
func (c *Controller) follow(ctx context.Context, set <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-set:
			if !ok {
				return
			}
			for _, key := range c.crons.ListKeys() {
				c.queue.Add(key)
			}
		}
	}
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.crons.GetByKey(key)
	cj, ok := obj.(*batchv1.CronJob)
	if err != nil || !exists || !ok {
		c.written.Forget(key)
		return err
	}
	if c.written.Stale(cj) {
		return nil
	}
	jobs, err := c.owned(ctx, cj)
	if err != nil {
		return err
	}
	now := time.Now()
	d := Decide(Observed{CronJob: cj, Jobs: jobs, Now: now})
	if err := c.carryOut(ctx, cj, &d); err != nil {
		return workload.Outdated(err)
	}
	if !d.Wake.IsZero() {
		c.queue.AddAfter(key, d.Wake.Add(slack).Sub(now))
	}
	return nil
}

// owned returns the Jobs of cj. What is said to be active and is not in the
// cache is asked for: the cache may be behind.
func (c *Controller) owned(ctx context.Context, cj *batchv1.CronJob) ([]*batchv1.Job, error) {
	jobs, err := workload.OwnedBy[*batchv1.Job](c.jobs, cj.UID)
	if err != nil {
		return nil, err
	}
	for _, r := range cj.Status.Active {
		if slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.UID == r.UID }) {
			continue
		}
		j, err := c.client.BatchV1().Jobs(cj.Namespace).Get(ctx, r.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return nil, err
		case j.UID == r.UID:
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// carryOut does what was decided. The status is written also if something else
// failed; a Job that is to be started is not in it then.
func (c *Controller) carryOut(ctx context.Context, cj *batchv1.CronJob, d *Decision) error {
	failure := c.deleteAll(ctx, cj, d)
	if d.Start != nil {
		if failure == nil {
			failure = c.start(ctx, cj, d)
		}
		if failure != nil {
			d.Status.LastScheduleTime = cj.Status.LastScheduleTime
		}
	}
	if !apiequality.Semantic.DeepEqual(d.Status, cj.Status) {
		next := cj.DeepCopy()
		next.Status = d.Status
		written, err := c.client.BatchV1().CronJobs(cj.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if err == nil {
			c.written.Note(written)
		}
	}
	workload.Record(c.recorder, cj, d.Events)
	return failure
}

func (c *Controller) deleteAll(ctx context.Context, cj *batchv1.CronJob, d *Decision) error {
	for _, j := range d.Delete {
		err := c.client.BatchV1().Jobs(j.Namespace).Delete(ctx, j.Name, metav1.DeleteOptions{
			PropagationPolicy: new(metav1.DeletePropagationBackground), Preconditions: &metav1.Preconditions{UID: &j.UID},
		})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsConflict(err): // gone, or another one by now
		case err != nil:
			c.recorder.Eventf(cj, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
			return err
		default:
			c.recorder.Eventf(cj, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", j.Name)
		}
	}
	return nil
}

// start makes the Job. One that is there already was made before the status
// could be written.
func (c *Controller) start(ctx context.Context, cj *batchv1.CronJob, d *Decision) error {
	jobs := c.client.BatchV1().Jobs(cj.Namespace)
	made, err := jobs.Create(ctx, d.Start, metav1.CreateOptions{})
	switch {
	case err == nil:
		c.recorder.Eventf(cj, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", made.Name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err):
		made, err = jobs.Get(ctx, d.Start.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !metav1.IsControlledBy(made, cj) {
			return nil // somebody else's, who keeps the name
		}
	default:
		c.recorder.Eventf(cj, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
		return err
	}
	if !slices.ContainsFunc(d.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == made.UID }) {
		d.Status.Active = append(d.Status.Active, Reference(made))
	}
	return nil
}
