package job

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/workload"
)

func statusRules() rules {
	return rules{
		Reset:         []string{"spec"},
		PrepareUpdate: func(j, old *batchv1.Job) { j.Spec = old.Spec },
		ValidateUpdate: func(_ context.Context, j, old *batchv1.Job) field.ErrorList {
			c := &statusCheck{now: j, old: old, at: field.NewPath("status")}
			c.numbers()
			c.uncounted()
			c.outcome()
			c.finished()
			c.indexes()
			c.contradictions()
			c.steps()
			return c.errs
		},
	}
}

// has says whether a condition of the Job is true.
func has(j *batchv1.Job, t batchv1.JobConditionType) bool { return is(j, t, corev1.ConditionTrue) }

func is(j *batchv1.Job, t batchv1.JobConditionType, s corev1.ConditionStatus) bool {
	for _, c := range j.Status.Conditions {
		if c.Type == t && c.Status == s {
			return true
		}
	}
	return false
}

func over(j *batchv1.Job) bool { return has(j, batchv1.JobComplete) || has(j, batchv1.JobFailed) }

// statusCheck compares a status with the one before. What has not changed is
// not held against a write that is about something else: a change of the spec
// may have made it wrong for a while.
type statusCheck struct {
	now, old *batchv1.Job
	at       *field.Path
	errs     field.ErrorList
}

func (c *statusCheck) invalid(name string, value any, text string) {
	c.errs = append(c.errs, field.Invalid(c.at.Child(name), value, text))
}

func (c *statusCheck) fault(text string) { c.invalid("conditions", field.OmitValueType{}, text) }

func (c *statusCheck) numbers() {
	s := &c.now.Status
	for _, n := range []struct {
		name string
		n    int32
	}{
		{"active", s.Active}, {"succeeded", s.Succeeded}, {"failed", s.Failed},
		{"ready", ptr.Deref(s.Ready, 0)}, {"terminating", ptr.Deref(s.Terminating, 0)},
	} {
		c.errs = append(c.errs, workload.NonNegative(int64(n.n), c.at.Child(n.name))...)
	}
}

func (c *statusCheck) uncounted() {
	u := c.now.Status.UncountedTerminatedPods
	if u == nil {
		return
	}
	seen := map[types.UID]bool{}
	check := func(name string, uids []types.UID) {
		for i, uid := range uids {
			at := c.at.Child("uncountedTerminatedPods", name).Index(i)
			switch {
			case uid == "":
				c.errs = append(c.errs, field.Invalid(at, uid, "must not be empty"))
			case seen[uid]:
				c.errs = append(c.errs, field.Duplicate(at, uid))
			}
			seen[uid] = true
		}
	}
	check("succeeded", u.Succeeded)
	check("failed", u.Failed)
}

// outcome: a Job succeeds or fails, by way of the condition that says it will,
// and has an end where it succeeded.
func (c *statusCheck) outcome() {
	s := &c.now.Status
	complete, failed := has(c.now, batchv1.JobComplete), has(c.now, batchv1.JobFailed)
	met, target := has(c.now, batchv1.JobSuccessCriteriaMet), has(c.now, batchv1.JobFailureTarget)
	if complete && failed {
		c.fault("cannot set Complete=True and Failed=true conditions")
	}
	if complete && target {
		c.fault("cannot set Complete=True and FailureTarget=true conditions")
	}
	if s.CompletionTime != nil && !complete {
		c.invalid("completionTime", s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	}
	if s.CompletionTime == nil && complete {
		c.errs = append(c.errs, field.Required(c.at.Child("completionTime"), "completionTime is required for Complete jobs"))
	}
	if s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		c.invalid("completionTime", s.CompletionTime, "must be equal to or after `startTime`")
	}
	if failed && !target {
		c.fault("cannot set Failed=True condition without the FailureTarget=true condition")
	}
	if complete && !met {
		c.fault("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
	}
}

// finished: of a Job that is over nothing is left.
func (c *statusCheck) finished() {
	if !over(c.now) {
		return
	}
	s, old, just := &c.now.Status, &c.old.Status, !over(c.old)
	if s.Active > 0 && (just || s.Active != old.Active) {
		c.invalid("active", s.Active, "active>0 is invalid for finished job")
	}
	nothing := ptr.Deref(c.now.Spec.Suspend, false) && ptr.Equal(c.now.Spec.Completions, ptr.To[int32](0))
	if s.StartTime == nil && (just || old.StartTime != nil) && !nothing {
		c.errs = append(c.errs, field.Required(c.at.Child("startTime"), "startTime is required for finished job"))
	}
	u := s.UncountedTerminatedPods
	if u != nil && len(u.Succeeded)+len(u.Failed) > 0 && (just || !apiequality.Semantic.DeepEqual(u, old.UncountedTerminatedPods)) {
		c.invalid("uncountedTerminatedPods", kind.GoNames{Value: *u}, "must be empty for finished job")
	}
}

func (c *statusCheck) indexes() {
	s, spec := &c.now.Status, &c.now.Spec
	newDone, newFailed := s.CompletedIndexes != c.old.Status.CompletedIndexes, !ptr.Equal(s.FailedIndexes, c.old.Status.FailedIndexes)
	failed := ptr.Deref(s.FailedIndexes, "")
	limit := int(ptr.Deref(spec.Completions, 0))
	if _, err := parseIndexes(s.CompletedIndexes, limit); err != nil && newDone && spec.Completions != nil {
		c.invalid("completedIndexes", s.CompletedIndexes, "error parsing completedIndexes: "+err.Error())
	}
	if _, err := parseIndexes(failed, limit); err != nil && newFailed && spec.Completions != nil && spec.BackoffLimitPerIndex != nil {
		c.invalid("failedIndexes", failed, "error parsing failedIndexes: "+err.Error())
	}
	if newDone && s.CompletedIndexes != "" && !indexed(spec) {
		c.invalid("completedIndexes", s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if newFailed && s.FailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		c.invalid("failedIndexes", failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if i, both := common(readable(s.CompletedIndexes, limit), readable(failed, limit)); both && (newDone || newFailed) {
		c.invalid("failedIndexes", failed, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i))
	}
}

// contradictions are between two parts of the status.
func (c *statusCheck) contradictions() {
	s, old := &c.now.Status, &c.old.Status
	if ptr.Deref(s.Terminating, 0) > 0 && over(c.now) && (!over(c.old) || !ptr.Equal(s.Terminating, old.Terminating)) {
		c.invalid("terminating", *s.Terminating, "terminating>0 is invalid for finished job")
	}
	if changed := !ptr.Equal(s.Ready, old.Ready) || s.Active != old.Active; changed && s.Ready != nil && *s.Ready > s.Active {
		c.invalid("ready", *s.Ready, "cannot set more ready pods than active")
	}
	if has(c.now, batchv1.JobSuccessCriteriaMet) && has(c.now, batchv1.JobFailed) {
		c.fault("cannot set SuccessCriteriaMet=True and Failed=true conditions")
	}
	if has(c.now, batchv1.JobSuccessCriteriaMet) && has(c.now, batchv1.JobFailureTarget) {
		c.fault("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	}
}

// steps: a status goes forward only.
func (c *statusCheck) steps() {
	s, old := &c.now.Status, &c.old.Status
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if has(c.old, t) && !has(c.now, t) {
			c.fault(fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if s.Failed < old.Failed {
		c.invalid("failed", s.Failed, "cannot decrease the failed counter")
	}
	// An indexed Job that is scaled down forgets indexes that succeeded.
	scalable := indexed(&c.now.Spec) && ptr.Equal(c.now.Spec.Completions, c.now.Spec.Parallelism)
	if s.Succeeded < old.Succeeded && !scalable {
		c.invalid("succeeded", s.Succeeded, "cannot decrease the succeeded counter")
	}
	if s.CompletionTime != nil && old.CompletionTime != nil && !s.CompletionTime.Equal(old.CompletionTime) {
		c.invalid("completionTime", s.CompletionTime, "field is immutable")
	}
	resuming := has(c.old, batchv1.JobSuspended) && is(c.now, batchv1.JobSuspended, corev1.ConditionFalse)
	if old.StartTime != nil && !old.StartTime.Equal(s.StartTime) && !resuming && !ptr.Deref(c.now.Spec.Suspend, false) {
		c.invalid("startTime", s.StartTime, "field is immutable for unsuspended job once set")
	}
	switch was, met := has(c.old, batchv1.JobSuccessCriteriaMet), has(c.now, batchv1.JobSuccessCriteriaMet); {
	case was && !met:
		c.fault("cannot disable the SuccessCriteriaMet=True condition")
	case !was && met && has(c.old, batchv1.JobComplete):
		c.fault("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
	}
}
