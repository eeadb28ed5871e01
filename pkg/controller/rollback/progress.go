package rollback

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	// Progressing is the condition of a rollout, as Deployments have it, on kinds
	// that have none of their own. It is kept only where a rollback is wanted.
	// Its time of transition is when the rollout was last seen to move.
	Progressing = "Progressing"
	// AnnotationRollout names the revision that the condition is about.
	AnnotationRollout = "carob.dev/rollout-revision"

	// ReasonProgressing of the condition: the rollout is under way.
	ReasonProgressing = "RolloutProgressing"
	// ReasonComplete of the condition: the rollout is over.
	ReasonComplete = "RolloutComplete"
)

// Progress is that condition.
type Progress struct {
	Reason string
	Since  time.Time
}

// Status is that of the condition.
func (p Progress) Status() corev1.ConditionStatus {
	if p.Reason == ReasonTimedOut || p.Reason == ReasonCrashLoop {
		return corev1.ConditionFalse
	}
	return corev1.ConditionTrue
}

// Message says it in words.
func (p Progress) Message(revision string) string {
	switch p.Reason {
	case ReasonComplete:
		return "Revision " + revision + " is rolled out."
	case ReasonTimedOut:
		return "The rollout of revision " + revision + " made no progress in time."
	case ReasonCrashLoop:
		return "The pods of revision " + revision + " crash."
	}
	return "Revision " + revision + " is being rolled out."
}

// Rollout is what is seen of one.
type Rollout struct {
	// Changed: the template is another one than the condition is about.
	Changed bool
	// Complete: all pods are of the revision and available. Advanced: more of
	// them are than at the last look.
	Complete, Advanced bool
	Deadline           time.Duration
	Now                time.Time
}

// Next is pure. after is when to look again though nothing has changed; 0 is
// never.
func (p Progress) Next(r Rollout) (next Progress, after time.Duration) {
	switch {
	case r.Complete && (r.Changed || p.Reason != ReasonComplete):
		return Progress{Reason: ReasonComplete, Since: r.Now}, 0
	case r.Changed || p.Reason == "":
		next = Progress{Reason: ReasonProgressing, Since: r.Now}
	case p.Reason == ReasonComplete:
		return p, 0
	case r.Advanced:
		next = Progress{Reason: ReasonProgressing, Since: r.Now}
	default:
		next = p
	}
	if next.Status() == corev1.ConditionFalse {
		return next, 0
	}
	left := next.Since.Add(r.Deadline).Sub(r.Now)
	if left <= 0 {
		return Progress{Reason: ReasonTimedOut, Since: r.Now}, 0
	}
	// The API keeps whole seconds.
	return next, left + time.Second
}

// Workload is one of a kind that keeps its history in ControllerRevisions.
type Workload struct {
	Annotations map[string]string
	// Current is the revision of the template.
	Current string
	// Before is a revision that was complete before this one, as far as the
	// workload's own status tells; empty: it does not.
	Before string
	// Was is the condition as it was.
	Was                Progress
	Complete, Advanced bool
	Exists             func(revision string) bool
	// Pods are those of a revision.
	Pods func(revision string) []*corev1.Pod
	// All are the revisions that may serve.
	All []string
	Now time.Time
}

// Outcome is what holds then.
type Outcome struct {
	Decision
	Progress Progress
}

// Judge is pure: it follows the rollout and decides.
func Judge(w Workload) Outcome {
	var o Outcome
	rolled := w.Annotations[AnnotationRollout]
	changed := rolled != w.Current
	var wait time.Duration
	o.Progress, wait = w.Was.Next(Rollout{
		Changed: changed, Complete: w.Complete, Advanced: w.Advanced, Deadline: Deadline(w.Annotations), Now: w.Now,
	})
	in := Input{
		Current: w.Current, Recorded: w.Annotations[AnnotationComplete], Exists: w.Exists,
		Complete: w.Complete, Since: o.Progress.Since, TimedOut: o.Progress.Reason == ReasonTimedOut,
		Crash: CrashLoops(w.Pods(w.Current)), Now: w.Now,
	}
	if changed {
		if in.Before = w.Before; w.Was.Reason == ReasonComplete && rolled != "" {
			in.Before = rolled
		}
		in.BeforeEnded = Ended(w.Pods(in.Before))
	}
	for _, name := range w.All {
		pods := w.Pods(name)
		if name != w.Current && len(pods) > 0 && workload.Ready(pods[0]) {
			in.Serving = name
		}
	}
	o.Decision = Decide(in)
	o.After = workload.Sooner(o.After, wait)
	if o.To != "" {
		o.Progress = Progress{Reason: o.Reason, Since: w.Now}
	}
	return o
}

// Record returns the annotations that hold then.
func (o Outcome) Record(annotations map[string]string, current string) map[string]string {
	out := map[string]string{}
	for k, v := range annotations {
		out[k] = v
	}
	out[AnnotationRollout] = current
	if o.Complete != "" {
		out[AnnotationComplete] = o.Complete
	}
	return out
}
