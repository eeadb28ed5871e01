package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// count moves pods through the three stages of the status, so that none is
// lost or counted twice whatever fails in between: first its UID is written,
// then its finalizer is removed, and when that is seen its UID becomes one of
// the number.
func (d *decision) count() {
	d.settle()
	pods := slices.Clone(d.Pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		i, _ := Index(a)
		j, _ := Index(b)
		return i - j
	})
	counted := 0
	for _, p := range pods {
		if !d.held(p) || !d.releasable(p) {
			continue
		}
		if counted >= most {
			d.more = true
			break
		}
		d.Release = append(d.Release, p)
		if d.note(p) {
			counted++
		}
	}
	if d.indexed() {
		d.noteIndexes()
	}
}

// settle counts the pods whose finalizer has gone.
func (d *decision) settle() {
	held := map[types.UID]bool{}
	for _, p := range d.Pods {
		held[p.UID] = d.held(p)
	}
	gone := func(uid types.UID) bool { return !held[uid] }
	u := d.Status.UncountedTerminatedPods
	before := len(u.Succeeded)
	u.Succeeded = slices.DeleteFunc(u.Succeeded, gone)
	d.Status.Succeeded += int32(before - len(u.Succeeded))
	before = len(u.Failed)
	u.Failed = slices.DeleteFunc(u.Failed, gone)
	d.Status.Failed += int32(before - len(u.Failed))
}

// releasable says whether the pod may lose its finalizer.
func (d *decision) releasable(p *corev1.Pod) bool {
	switch {
	case slices.Contains(d.Drop, p):
		return false // that goes with its deletion
	case d.Job.DeletionTimestamp != nil, d.end != nil, p.Status.Phase == corev1.PodSucceeded:
		return true
	case !d.hasFailed(p):
		return false
	}
	if i, ok := Index(p); ok && d.waiting[i] != nil && d.waiting[i].UID == p.UID {
		return false
	}
	return true
}

// note puts the pod's UID into the status where it has to be counted by it.
func (d *decision) note(p *corev1.Pod) bool {
	u := d.Status.UncountedTerminatedPods
	if p.Status.Phase == corev1.PodSucceeded && !slices.Contains(u.Failed, p.UID) {
		if d.indexed() || slices.Contains(u.Succeeded, p.UID) {
			return false // its index tells
		}
		u.Succeeded = append(u.Succeeded, p.UID)
		return true
	}
	stopped := d.end != nil && d.end.Type != batchv1.JobSuccessCriteriaMet
	if !d.hasFailed(p) && !stopped || slices.Contains(u.Failed, p.UID) {
		return false
	}
	if d.indexed() {
		if _, ok := d.validIndex(p); !ok {
			return false
		}
	}
	if !judge(d.Job.Spec.PodFailurePolicy, p).counts {
		return false
	}
	u.Failed = append(u.Failed, p.UID)
	return true
}

func (d *decision) noteIndexes() {
	done := Indexes{}
	for i := range d.before {
		done.add(i)
	}
	for _, p := range d.Release {
		if i, ok := d.validIndex(p); ok && p.Status.Phase == corev1.PodSucceeded {
			done.add(i)
		}
	}
	d.Status.Succeeded, d.Status.CompletedIndexes = int32(len(done)), done.String()
	d.Status.FailedIndexes = nil
	if d.perIndex() {
		failed := d.failedIndexes.String()
		d.Status.FailedIndexes = &failed
	}
}

// finish writes how the Job ends: first what it comes to, and when nothing of
// it is left to stop or count, that it is over.
func (d *decision) finish() {
	if d.end == nil {
		return
	}
	d.set(d.end.Type, corev1.ConditionTrue, d.end.Reason, d.end.Message)
	u := d.Status.UncountedTerminatedPods
	// What is released now is counted by a later decision, which sees it gone.
	if d.more || len(u.Succeeded)+len(u.Failed)+len(d.Release)+int(d.terminating) > 0 || !d.Settled {
		return
	}
	if d.end.Type == batchv1.JobSuccessCriteriaMet {
		d.set(batchv1.JobComplete, corev1.ConditionTrue, d.end.Reason, d.end.Message)
		d.Status.CompletionTime = &metav1.Time{Time: d.Now}
		if c := d.Job.Spec.Completions; c != nil && d.Status.Succeeded > *c {
			d.event(corev1.EventTypeWarning, "TooManySucceededPods", "Too many succeeded pods running after completion count reached")
		}
		d.event(corev1.EventTypeNormal, "Completed", "Job completed")
		return
	}
	d.set(batchv1.JobFailed, corev1.ConditionTrue, d.end.Reason, d.end.Message)
	d.event(corev1.EventTypeWarning, d.end.Reason, d.end.Message)
}

func condition(list []batchv1.JobCondition, t batchv1.JobConditionType) *batchv1.JobCondition {
	i := slices.IndexFunc(list, func(c batchv1.JobCondition) bool { return c.Type == t && c.Status == corev1.ConditionTrue })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func (d *decision) made(t batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(d.Now)
	return &batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, LastProbeTime: now, LastTransitionTime: now, Reason: reason, Message: message}
}

// set writes a condition and says whether that changed it. One that would be
// False and was never there is left out.
func (d *decision) set(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) bool {
	c := d.made(t, reason, message)
	c.Status = status
	i := slices.IndexFunc(d.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == t })
	if i < 0 {
		if status == corev1.ConditionFalse {
			return false
		}
		d.Status.Conditions = append(d.Status.Conditions, *c)
		return true
	}
	if d.Status.Conditions[i].Status == status && d.Status.Conditions[i].Reason == reason && d.Status.Conditions[i].Message == message {
		return false
	}
	d.Status.Conditions[i] = *c
	return true
}

// Finished says whether a Job is over for good.
func Finished(j *batchv1.Job) bool {
	return condition(j.Status.Conditions, batchv1.JobComplete) != nil || condition(j.Status.Conditions, batchv1.JobFailed) != nil
}

// Expiry is when a Job that is over is to be deleted; ok is false where it is
// to be kept.
func Expiry(j *batchv1.Job) (at time.Time, ok bool) {
	ttl := j.Spec.TTLSecondsAfterFinished
	if ttl == nil {
		return time.Time{}, false
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if c := condition(j.Status.Conditions, t); c != nil {
			return c.LastTransitionTime.Add(time.Duration(*ttl) * time.Second), true
		}
	}
	return time.Time{}, false
}
