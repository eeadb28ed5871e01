package job

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// Observed is one look at a Job that has defaults.
type Observed struct {
	Job *batchv1.Job
	// Pods are all that the Job controls, ended and leaving ones included.
	Pods []*corev1.Pod
	// Released are pods whose finalizer was removed, though Pods may still
	// show it.
	Released map[types.UID]bool
	// Settled: Pods shows everything that was made or deleted so far.
	Settled bool
	Backoff Backoff
	Now     time.Time
}

// view is what the decision reads out of what was observed.
type view struct {
	*Observed
	active      []*corev1.Pod
	ready       int32
	terminating int32
	// countSucceeded and countFailed hold those pods that are not in the
	// counters yet and for which the Job is still to be told.
	countSucceeded, countFailed []*corev1.Pod
	// succeeded and failed are the totals once these are counted.
	succeeded, failed int32
	backoff           Backoff
	// The rest is about indexed Jobs. busy are the indexes of active pods
	// and, where only failed pods are replaced, of terminating ones.
	before, completed, failedIndexes, busy Indexes
	// waiting is, by index, the failed pod that tells how often the index
	// failed. It is kept until its replacement is there.
	waiting map[int]*corev1.Pod
}

func look(o *Observed) *view {
	v := &view{Observed: o}
	for _, p := range o.Pods {
		switch {
		case workload.Terminated(p):
		case p.DeletionTimestamp != nil:
			v.terminating++
		default:
			v.active = append(v.active, p)
			if workload.Ready(p) {
				v.ready++
			}
		}
	}
	uncounted := o.uncounted()
	for _, p := range o.Pods {
		if !o.tracked(p) {
			continue
		}
		switch {
		case p.Status.Phase == corev1.PodSucceeded:
			if !slices.Contains(uncounted.Succeeded, p.UID) {
				v.countSucceeded = append(v.countSucceeded, p)
			}
		case o.hasFailed(p):
			if !slices.Contains(uncounted.Failed, p.UID) {
				v.countFailed = append(v.countFailed, p)
			}
		}
	}
	v.backoff = o.Backoff.after(v.countSucceeded, v.countFailed)
	v.succeeded = o.Job.Status.Succeeded + int32(len(v.countSucceeded)+len(uncounted.Succeeded))
	v.failed = o.Job.Status.Failed + int32(len(uncounted.Failed))
	for _, p := range v.countFailed {
		if judge(o.Job.Spec.PodFailurePolicy, p).counts {
			v.failed++
		}
	}
	if o.indexed() {
		v.lookAtIndexes()
	}
	return v
}

// lookAtIndexes finds which indexes are done, and which failed for good.
func (v *view) lookAtIndexes() {
	limit := int(*v.Job.Spec.Completions)
	v.before = ParseIndexes(v.Job.Status.CompletedIndexes, limit)
	v.completed = ParseIndexes(v.Job.Status.CompletedIndexes, limit)
	v.failedIndexes, v.busy, v.waiting = Indexes{}, Indexes{}, map[int]*corev1.Pod{}
	if f := v.Job.Status.FailedIndexes; f != nil {
		v.failedIndexes = ParseIndexes(*f, limit)
	}
	for _, p := range v.active {
		if i, ok := Index(p); ok {
			v.busy.add(i)
		}
	}
	for _, p := range v.Pods {
		i, ok := v.validIndex(p)
		if !ok {
			continue
		}
		if v.replacesFailedOnly() && p.DeletionTimestamp != nil && !workload.Terminated(p) {
			v.busy.add(i)
		}
		if !v.tracked(p) {
			continue
		}
		if p.Status.Phase == corev1.PodSucceeded {
			v.completed.add(i)
		} else if v.hasFailed(p) && v.failsIndex(p) {
			v.failedIndexes.add(i)
		}
	}
	v.succeeded = int32(len(v.completed))
	v.findWaiting()
}

func (v *view) findWaiting() {
	if !v.perIndex() {
		return
	}
	for _, p := range v.Pods {
		i, ok := v.validIndex(p)
		if !ok || !v.tracked(p) || !v.hasFailed(p) || v.completed.Has(i) || v.failedIndexes.Has(i) || v.activeIndex(i) {
			continue
		}
		old := v.waiting[i]
		if old == nil || allFailures(old) <= allFailures(p) && !endOf(p).Before(endOf(old)) {
			v.waiting[i] = p
		}
	}
}

func (v *view) activeIndex(i int) bool {
	return slices.ContainsFunc(v.active, func(p *corev1.Pod) bool { at, ok := Index(p); return ok && at == i })
}

// failsIndex says whether a failed pod is the last one of its index.
func (o *Observed) failsIndex(p *corev1.Pod) bool {
	if !o.perIndex() {
		return false
	}
	j := judge(o.Job.Spec.PodFailurePolicy, p)
	return j.failsIndex || j.counts && annotated(p, batchv1.JobIndexFailureCountAnnotation) >= int(*o.Job.Spec.BackoffLimitPerIndex)
}

func (o *Observed) uncounted() batchv1.UncountedTerminatedPods {
	if u := o.Job.Status.UncountedTerminatedPods; u != nil {
		return *u
	}
	return batchv1.UncountedTerminatedPods{}
}

// tracked says whether the pod still carries the finalizer that keeps it until
// it is counted, and in an indexed Job whether its index is one of the Job's.
func (o *Observed) tracked(p *corev1.Pod) bool {
	if !o.held(p) {
		return false
	}
	if o.indexed() {
		_, ok := o.validIndex(p)
		return ok
	}
	return true
}

func (o *Observed) held(p *corev1.Pod) bool {
	return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) && !o.Released[p.UID]
}

// hasFailed: a pod that is being deleted counts as failed at once, unless the
// Job waits for it to end.
func (o *Observed) hasFailed(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed {
		return true
	}
	return !o.replacesFailedOnly() && p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded
}

func (o *Observed) indexed() bool {
	m := o.Job.Spec.CompletionMode
	return m != nil && *m == batchv1.IndexedCompletion
}

func (o *Observed) perIndex() bool { return o.Job.Spec.BackoffLimitPerIndex != nil }

func (o *Observed) replacesFailedOnly() bool {
	r := o.Job.Spec.PodReplacementPolicy
	return r != nil && *r == batchv1.Failed
}

func (o *Observed) suspended() bool { return o.Job.Spec.Suspend != nil && *o.Job.Spec.Suspend }

// allFailures is how often the index of the pod has failed before it.
func allFailures(p *corev1.Pod) int {
	return annotated(p, batchv1.JobIndexFailureCountAnnotation) + annotated(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

func annotated(p *corev1.Pod, key string) int {
	n, err := strconv.ParseInt(p.Annotations[key], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}
