// Package cronjob starts the Jobs of CronJobs when they are due, and removes
// old ones.
//
// Decide is pure. It must not know how objects are read or written; the loop
// beside it does that and decides nothing.
package cronjob

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/job"
	"github.com/carob-project/carob/pkg/controller/workload"
	"github.com/carob-project/carob/pkg/cron"
)

// Observed is one look at a CronJob that has defaults.
type Observed struct {
	CronJob *batchv1.CronJob
	// Jobs are all that it controls.
	Jobs []*batchv1.Job
	Now  time.Time
}

// Decision is what to do next: first Delete, then Start, and then Status is
// written, to which the started Job is added.
type Decision struct {
	Delete []*batchv1.Job
	// Start is the Job to make, if one is due.
	Start  *batchv1.Job
	Status batchv1.CronJobStatus
	Events []workload.Event
	// Wake is when to decide again although nothing changed; zero: never.
	Wake time.Time
}

type decision struct {
	Observed
	Decision
}

// Decide is pure.
func Decide(o Observed) Decision {
	d := &decision{Observed: o, Decision: Decision{Status: *o.CronJob.Status.DeepCopy()}}
	d.follow()
	d.prune()
	if o.CronJob.DeletionTimestamp == nil && !ptr.Deref(o.CronJob.Spec.Suspend, false) {
		d.schedule()
	}
	return d.Decision
}

func (d *decision) tell(typ, reason, format string, a ...any) {
	d.Events = append(d.Events, workload.Event{Type: typ, Reason: reason, Message: fmt.Sprintf(format, a...)})
}

// follow brings the list of active Jobs, and the times, up to date.
func (d *decision) follow() {
	for _, j := range d.Jobs {
		i := slices.IndexFunc(d.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID })
		at, mine := scheduledAt(j)
		// A write of the status that did not come about is made up for.
		if mine && (d.Status.LastScheduleTime == nil || at.After(d.Status.LastScheduleTime.Time)) {
			d.Status.LastScheduleTime = &metav1.Time{Time: at}
		}
		switch over := job.Finished(j); {
		case !over && i < 0 && mine:
			d.Status.Active = append(d.Status.Active, Reference(j))
		case !over && i < 0:
			d.tell(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
		case over && i >= 0:
			d.Status.Active = slices.Delete(d.Status.Active, i, i+1)
			d.tell(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, outcome(j))
		}
		if end := j.Status.CompletionTime; outcome(j) == batchv1.JobComplete && end != nil &&
			(d.Status.LastSuccessfulTime == nil || end.After(d.Status.LastSuccessfulTime.Time)) {
			d.Status.LastSuccessfulTime = end
		}
	}
	for _, r := range slices.Clone(d.Status.Active) {
		if !slices.ContainsFunc(d.Jobs, func(j *batchv1.Job) bool { return j.UID == r.UID }) {
			d.inactive(r)
			d.tell(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", r.Name)
		}
	}
}

func (d *decision) inactive(r corev1.ObjectReference) {
	d.Status.Active = slices.DeleteFunc(d.Status.Active, func(o corev1.ObjectReference) bool { return o.UID == r.UID })
}

// outcome is how a Job ended, or "".
func outcome(j *batchv1.Job) batchv1.JobConditionType {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// prune removes the oldest of the Jobs that ended, beyond the limits.
func (d *decision) prune() {
	d.pruneBy(batchv1.JobComplete, d.CronJob.Spec.SuccessfulJobsHistoryLimit)
	d.pruneBy(batchv1.JobFailed, d.CronJob.Spec.FailedJobsHistoryLimit)
}

func (d *decision) pruneBy(how batchv1.JobConditionType, keep *int32) {
	if keep == nil {
		return
	}
	var jobs []*batchv1.Job
	for _, j := range d.Jobs {
		if j.DeletionTimestamp == nil && outcome(j) == how {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b *batchv1.Job) int { return cmp.Or(compareStart(a, b), cmp.Compare(a.Name, b.Name)) })
	d.Delete = append(d.Delete, jobs[:max(len(jobs)-int(*keep), 0)]...)
}

// compareStart: Jobs that have not begun come last.
func compareStart(a, b *batchv1.Job) int {
	switch x, y := a.Status.StartTime, b.Status.StartTime; {
	case x == nil && y == nil:
		return 0
	case x == nil:
		return 1
	case y == nil:
		return -1
	default:
		return x.Compare(y.Time)
	}
}

// schedule finds the Job that is due, and when the next one is.
func (d *decision) schedule() {
	s := &d.CronJob.Spec
	in, err := cron.Zone(s.TimeZone)
	if err != nil {
		d.tell(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", ptr.Deref(s.TimeZone, ""), err)
		return
	}
	times, err := cron.Parse(s.Schedule, in)
	if err != nil {
		d.tell(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", s.Schedule, err)
		return
	}
	due, missed, next := latest(times, d.earliest(), d.Now)
	if next.IsZero() {
		d.tell(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : it is never due", s.Schedule)
		return
	}
	d.Wake = next
	if due.IsZero() {
		return
	}
	if missed > manyMissed {
		d.tell(corev1.EventTypeWarning, "TooManyMissedTimes",
			"too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	d.begin(due)
}

// manyMissed is from how many starts on that were missed users are warned.
const manyMissed = 100

// earliest is the time after which starts count that were missed: what is
// beyond the deadline does not.
func (d *decision) earliest() time.Time {
	from := d.CronJob.CreationTimestamp.Time
	if last := d.Status.LastScheduleTime; last != nil {
		from = last.Time
	}
	if n := d.CronJob.Spec.StartingDeadlineSeconds; n != nil {
		if limit := d.Now.Add(-time.Duration(*n) * time.Second); limit.After(from) {
			from = limit
		}
	}
	return from
}

// begin starts the Job that was due at the given time, unless it is too late or
// another one is in the way.
func (d *decision) begin(due time.Time) {
	s := &d.CronJob.Spec
	if n := s.StartingDeadlineSeconds; n != nil && due.Add(time.Duration(*n)*time.Second).Before(d.Now) {
		d.tell(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	name := JobName(d.CronJob, due)
	if slices.ContainsFunc(d.Status.Active, func(r corev1.ObjectReference) bool { return r.Name == name }) {
		return
	}
	if len(d.Status.Active) > 0 {
		switch s.ConcurrencyPolicy {
		case batchv1.ForbidConcurrent:
			d.tell(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
			return
		case batchv1.ReplaceConcurrent:
			d.replace()
		case batchv1.AllowConcurrent:
		}
	}
	d.Start = newJob(d.CronJob, due)
	d.Status.LastScheduleTime = &metav1.Time{Time: due}
}

// replace ends the Jobs that still run.
func (d *decision) replace() {
	for _, r := range slices.Clone(d.Status.Active) {
		i := slices.IndexFunc(d.Jobs, func(j *batchv1.Job) bool { return j.UID == r.UID })
		d.Delete = append(d.Delete, d.Jobs[i])
		d.inactive(r)
	}
}
