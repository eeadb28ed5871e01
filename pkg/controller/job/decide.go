package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// most bounds how many pods one decision makes, deletes or counts.
const most = 500

// Creation is one pod to make.
type Creation struct {
	// Index is -1 in a Job without indexes.
	Index int
	// Replaces is the failed pod of the same index whose failures the new
	// one carries on, if there is one.
	Replaces *corev1.Pod
}

// Decision is what to do next. First Drop, Delete and Create are carried out,
// then Status is written, then the finalizers of Release are removed, and only
// after all of that Backoff is kept: a pod is in the status before anything
// can remove it.
type Decision struct {
	// Drop are pods whose end is not to be counted: their finalizer is
	// removed first, then they are deleted.
	Drop    []*corev1.Pod
	Delete  []*corev1.Pod
	Create  []Creation
	Status  batchv1.JobStatus
	Release []*corev1.Pod
	Events  []workload.Event
	Backoff Backoff
	// Wake is when to decide again although nothing changed; zero: never.
	Wake time.Time
}

// Decide is pure. The Job must not have finished before.
func Decide(o Observed) Decision {
	v := look(&o)
	d := &decision{view: v, Decision: Decision{Status: *o.Job.Status.DeepCopy(), Backoff: v.backoff}}
	if d.Status.UncountedTerminatedPods == nil {
		d.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	if d.Status.StartTime == nil && !o.suspended() {
		d.Status.StartTime = &metav1.Time{Time: o.Now}
	}
	d.outcome()
	if d.end != nil {
		d.stopAll()
	} else {
		d.manage()
		d.completion()
	}
	d.count()
	d.finish()
	d.report()
	return d.Decision
}

// decision is one in the making.
type decision struct {
	*view
	Decision
	// end is the condition that ends the Job.
	end *batchv1.JobCondition
	// more: not every pod that ended could be counted.
	more bool
}

// outcome finds whether the Job is over: what was decided before stands, then
// come failures, then successes.
func (d *decision) outcome() {
	if c := condition(d.Status.Conditions, batchv1.JobSuccessCriteriaMet); c != nil {
		d.end = c
		return
	}
	if c := condition(d.Status.Conditions, batchv1.JobFailureTarget); c != nil {
		d.end = c
		return
	}
	if reason, message := d.failure(); reason != "" {
		d.end = d.made(batchv1.JobFailureTarget, reason, message)
		return
	}
	if d.indexed() {
		if message, ok := succeeded(d.Job.Spec.SuccessPolicy, d.completed, int(*d.Job.Spec.Completions)); ok {
			d.end = d.made(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, message)
		}
	}
}

func (d *decision) failure() (reason, message string) {
	spec := &d.Job.Spec
	for _, p := range d.Pods {
		if d.hasFailed(p) {
			if m := judge(spec.PodFailurePolicy, p).failsJob; m != "" {
				return batchv1.JobReasonPodFailurePolicy, m
			}
		}
	}
	if d.failed > *spec.BackoffLimit || d.restartsExceeded() {
		return batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit"
	}
	if s := spec.ActiveDeadlineSeconds; s != nil && !d.suspended() && d.Status.StartTime != nil {
		end := d.Status.StartTime.Add(time.Duration(*s) * time.Second)
		if !d.Now.Before(end) {
			return batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline"
		}
		d.wake(end)
	}
	if d.indexed() && d.perIndex() {
		failed := len(d.failedIndexes)
		if spec.MaxFailedIndexes != nil && failed > int(*spec.MaxFailedIndexes) {
			return batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes"
		}
		if failed > 0 && failed+len(d.completed) >= int(*spec.Completions) {
			return batchv1.JobReasonFailedIndexes, "Job has failed indexes"
		}
	}
	return "", ""
}

// restartsExceeded: where containers are restarted in their pods, the restarts
// count towards the limit.
func (d *decision) restartsExceeded() bool {
	if d.Job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	restarts := int32(0)
	for _, p := range d.Pods {
		if workload.Terminated(p) {
			continue
		}
		for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			restarts += s.RestartCount
		}
	}
	return restarts >= max(*d.Job.Spec.BackoffLimit, 1)
}

// stopAll deletes what still runs of a Job that is over. It is not over as
// long as a pod may be under way that is not seen yet.
func (d *decision) stopAll() {
	d.Delete = d.active
	d.leave(d.active)
}

// leave takes pods that are about to be deleted from the active ones.
func (d *decision) leave(pods []*corev1.Pod) {
	for _, p := range pods {
		d.terminating++
		if workload.Ready(p) {
			d.ready--
		}
	}
	d.active = slices.DeleteFunc(slices.Clone(d.active), func(p *corev1.Pod) bool { return slices.Contains(pods, p) })
}

// completion sees whether enough pods succeeded.
func (d *decision) completion() {
	if d.Job.DeletionTimestamp != nil {
		return
	}
	enough := d.succeeded > 0
	if c := d.Job.Spec.Completions; c != nil {
		enough = d.succeeded >= *c
	}
	if enough && len(d.active)+len(d.Create) == 0 {
		d.end = d.made(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
	}
}

// report fills in what is seen of the pods.
func (d *decision) report() {
	d.Status.Active = int32(len(d.active) + len(d.Create))
	d.Status.Ready = &d.ready
	d.Status.Terminating = &d.terminating
}

func (d *decision) wake(at time.Time) {
	if d.Wake.IsZero() || at.Before(d.Wake) {
		d.Wake = at
	}
}

func (d *decision) event(typ, reason, message string) {
	d.Events = append(d.Events, workload.Event{Type: typ, Reason: reason, Message: message})
}
