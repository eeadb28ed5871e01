// Package rollback decides when a workload returns of itself to the revision
// before, and to which. It must not know what kind of workload that is, and it
// writes nothing.
package rollback

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	// Annotation, with the value OnFailure, lets a workload return to its last
	// complete revision when a rollout fails.
	Annotation = "carob.dev/rollback"
	// OnFailure is its one value.
	OnFailure = "on-failure"
	// AnnotationDeadline is how many seconds a rollout may go without progress,
	// for kinds that have no field for that.
	AnnotationDeadline = "carob.dev/progress-deadline-seconds"
	// AnnotationComplete names the last complete revision.
	AnnotationComplete = "carob.dev/complete-revision"

	// annotationManifest names the document that the workload was applied from,
	// annotationRolledBack the one whose rollout was taken back: who applied it
	// does not apply it again. See pkg/folder.
	annotationManifest   = "carob.dev/manifest-hash"
	annotationRolledBack = "carob.dev/rolled-back-manifest"

	// Condition is True after a rollback, until the template changes again.
	Condition = "RolledBack"

	// ReasonTimedOut of a rollback: the rollout made no progress in time.
	ReasonTimedOut = "ProgressDeadlineExceeded"
	// ReasonCrashLoop of a rollback: new pods crash again and again.
	ReasonCrashLoop = "CrashLoopBackOff"

	// Probation is how long a revision whose rollout is complete may still be
	// left because its pods crash: a container that ends at once is ready for an
	// instant.
	Probation = time.Minute
	// crashes in a row, as a container's restarts and the one that it waits
	// after, make a loop.
	crashes = 3

	defaultDeadline = 600 * time.Second
)

// Wanted says whether the workload is to return of itself.
func Wanted(annotations map[string]string) bool { return annotations[Annotation] == OnFailure }

// Own says whether an annotation is one of this package's, which is not handed
// on to what a workload makes.
func Own(key string) bool {
	switch key {
	case Annotation, AnnotationDeadline, AnnotationComplete, annotationManifest, annotationRolledBack, "carob.dev/manifest":
		return true
	}
	return false
}

// Deadline is how long a rollout may go without progress.
func Deadline(annotations map[string]string) time.Duration {
	n, err := strconv.ParseInt(annotations[AnnotationDeadline], 10, 32)
	if err != nil || n <= 0 {
		return defaultDeadline
	}
	return time.Duration(n) * time.Second
}

// Mark notes on a workload that is about to return what it returns from.
func Mark(annotations map[string]string) {
	if hash := annotations[annotationManifest]; hash != "" {
		annotations[annotationRolledBack] = hash
	}
}

// CrashLoop says which container of a pod crashes again and again, and how; it
// says "" where none does.
func CrashLoop(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil || workload.Terminated(p) {
		return ""
	}
	for _, all := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range all {
			if c.State.Waiting == nil || c.State.Waiting.Reason != ReasonCrashLoop || c.RestartCount+1 < crashes {
				continue
			}
			text := fmt.Sprintf("container %s of pod %s has ended %d times", c.Name, p.Name, c.RestartCount+1)
			if t := c.LastTerminationState.Terminated; t != nil {
				text += fmt.Sprintf(", last with exit code %d (%s)", t.ExitCode, cmp.Or(t.Reason, "Error"))
			}
			return text
		}
	}
	return ""
}

// CrashLoops is CrashLoop of the first pod of which there is something to say.
func CrashLoops(pods []*corev1.Pod) string {
	for _, p := range pods {
		if text := CrashLoop(p); text != "" {
			return text
		}
	}
	return ""
}

// Ended says whether a container of the pods has ended and is to run again. A
// revision that was complete for less than Probation has not proven itself then.
func Ended(pods []*corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
			return c.RestartCount > 0 || c.State.Waiting != nil && c.State.Waiting.Reason == ReasonCrashLoop
		})
	})
}

// Input is what a decision is made on.
type Input struct {
	// Current is the revision of the template as it is.
	Current string
	// Recorded is the last complete revision, as it was recorded; empty: none.
	Recorded string
	// Before is the revision that was complete until the template changed just
	// now; empty where it did not change, or was not complete.
	Before string
	// Serving is a revision whose pods are available, for a workload that was
	// not watched when it was last complete.
	Serving string
	// Exists says whether the template of a revision is still known.
	Exists func(revision string) bool
	// Complete: all pods are of Current and available, since Since.
	Complete bool
	Since    time.Time
	// TimedOut: the rollout went without progress for too long.
	TimedOut bool
	// Crash is what CrashLoops says of the pods of Current, and BeforeEnded what
	// Ended says of those of Before.
	Crash       string
	BeforeEnded bool
	Now         time.Time
}

// Decision is what to record, and whether to return.
type Decision struct {
	// Complete is the revision to be recorded as the last complete one.
	Complete string
	// To is the revision to return to; empty: stay.
	To              string
	Reason, Message string
	// After is when to decide again though nothing has changed; 0 is never.
	After time.Duration
}

// Decide is pure. A revision that is recorded as complete is never left, and
// what is returned to is such a one: so there is one way back from each failure
// and none from there.
func Decide(in Input) Decision {
	d := Decision{Complete: in.Recorded}
	if in.Recorded == in.Current {
		return d // also just after a return to it
	}
	if in.Before != "" && in.Before != in.Current && !in.BeforeEnded {
		d.Complete = in.Before
	}
	if in.Complete && in.Crash == "" && !in.TimedOut {
		if left := in.Since.Add(Probation).Sub(in.Now); left > 0 {
			d.After = left
			return d
		}
		d.Complete = in.Current
		return d
	}
	switch {
	case in.Crash != "":
		d.Reason, d.Message = ReasonCrashLoop, in.Crash
	case in.TimedOut:
		d.Reason, d.Message = ReasonTimedOut, "it made no progress in time"
	default:
		return d
	}
	if d.To = cmp.Or(d.Complete, in.Serving); d.To == in.Current || !in.Exists(d.To) {
		d.To = ""
	}
	if d.To != "" {
		d.Complete = d.To
	}
	return d
}
