package cronjob

import (
	"fmt"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/cron"
)

// latest returns the last time in (from, now] at which something was due, zero
// if there was none, about how many such times there were, and the first time
// after now. All times of a schedule that is never due are zero.
//
// Where many were missed it does not go through all of them: it estimates how
// many there were by the distance of the first two, and looks from there on.
func latest(s cron.Schedule, from, now time.Time) (due time.Time, missed int64, next time.Time) {
	first := s.Next(from)
	if first.IsZero() || first.After(now) {
		return time.Time{}, 0, first
	}
	second := s.Next(first)
	if second.IsZero() {
		return first, 1, time.Time{}
	}
	missed = 1
	if distance := second.Sub(first); distance > 0 && !second.After(now) {
		missed = int64(now.Sub(first)/distance) + 1
		// One more back, since the distance may vary.
		if guess := first.Add(time.Duration(missed-2) * distance); guess.After(first) {
			if t := s.Next(guess); !t.IsZero() && !t.After(now) {
				first = t
			}
		}
	}
	for due, next = first, s.Next(first); !next.IsZero() && !next.After(now); next = s.Next(next) {
		due = next
	}
	return due, missed, next
}

// JobName is that of the Job that is due at the given time: a second one for
// the same minute cannot be made.
func JobName(c *batchv1.CronJob, due time.Time) string {
	return fmt.Sprintf("%s-%d", c.Name, due.Unix()/60)
}

func kind() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("CronJob") }

// newJob is the Job of a time. Its annotation says when it was due, in the
// CronJob's time zone.
func newJob(c *batchv1.CronJob, due time.Time) *batchv1.Job {
	t := c.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: JobName(c, due), Namespace: c.Namespace, Labels: t.Labels, Annotations: maps.Clone(t.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(c, kind())},
		},
		Spec: t.Spec,
	}
	if j.Annotations == nil {
		j.Annotations = map[string]string{}
	}
	in, err := time.LoadLocation(ptr.Deref(c.Spec.TimeZone, ""))
	if err != nil {
		in = time.UTC
	}
	j.Annotations[batchv1.CronJobScheduledTimestampAnnotation] = due.In(in).Format(time.RFC3339)
	return j
}

// scheduledAt is when a Job was due that this controller has made.
func scheduledAt(j *batchv1.Job) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, j.Annotations[batchv1.CronJobScheduledTimestampAnnotation])
	return at, err == nil
}

// Reference names a Job in the list of active ones.
func Reference(j *batchv1.Job) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job",
		Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion,
	}
}
