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
			c.conditions()
			c.finished()
			c.times()
			c.indexes()
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

func (c *statusCheck) numbers() {
	s, old := &c.now.Status, &c.old.Status
	for _, n := range []struct {
		name string
		n    int32
	}{
		{"active", s.Active}, {"succeeded", s.Succeeded}, {"failed", s.Failed},
		{"ready", ptr.Deref(s.Ready, 0)}, {"terminating", ptr.Deref(s.Terminating, 0)},
	} {
		c.errs = append(c.errs, workload.NonNegative(int64(n.n), c.at.Child(n.name))...)
	}
	if s.Failed < old.Failed {
		c.invalid("failed", s.Failed, "cannot decrease the failed counter")
	}
	// An indexed Job that is scaled down forgets indexes that succeeded.
	scalable := indexed(&c.now.Spec) && ptr.Equal(c.now.Spec.Completions, c.now.Spec.Parallelism)
	if s.Succeeded < old.Succeeded && !scalable {
		c.invalid("succeeded", s.Succeeded, "cannot decrease the succeeded counter")
	}
	if changed := !ptr.Equal(s.Ready, old.Ready) || s.Active != old.Active; changed && s.Ready != nil && *s.Ready > s.Active {
		c.invalid("ready", *s.Ready, "cannot set more ready pods than active")
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

// conditions: a Job succeeds or fails, by way of the condition that says it
// will, and for good.
func (c *statusCheck) conditions() {
	fault := func(text string) { c.invalid("conditions", field.OmitValueType{}, text) }
	complete, failed := has(c.now, batchv1.JobComplete), has(c.now, batchv1.JobFailed)
	met, target := has(c.now, batchv1.JobSuccessCriteriaMet), has(c.now, batchv1.JobFailureTarget)
	for _, f := range []struct {
		wrong bool
		text  string
	}{
		{complete && failed, "cannot set Complete=True and Failed=true conditions"},
		{complete && target, "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
	} {
		if f.wrong {
			fault(f.text)
		}
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if has(c.old, t) && !has(c.now, t) {
			fault(fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
	if has(c.old, batchv1.JobSuccessCriteriaMet) && !met {
		fault("cannot disable the SuccessCriteriaMet=True condition")
	}
	if has(c.old, batchv1.JobComplete) && !has(c.old, batchv1.JobSuccessCriteriaMet) && met {
		fault("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
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
	if ptr.Deref(s.Terminating, 0) > 0 && (just || !ptr.Equal(s.Terminating, old.Terminating)) {
		c.invalid("terminating", *s.Terminating, "terminating>0 is invalid for finished job")
	}
	u := s.UncountedTerminatedPods
	if u != nil && len(u.Succeeded)+len(u.Failed) > 0 && (just || !apiequality.Semantic.DeepEqual(u, old.UncountedTerminatedPods)) {
		c.invalid("uncountedTerminatedPods", u, "must be empty for finished job")
	}
	nothing := ptr.Deref(c.now.Spec.Suspend, false) && ptr.Equal(c.now.Spec.Completions, ptr.To[int32](0))
	if s.StartTime == nil && (just || old.StartTime != nil) && !nothing {
		c.errs = append(c.errs, field.Required(c.at.Child("startTime"), "startTime is required for finished job"))
	}
}

func (c *statusCheck) times() {
	s, old := &c.now.Status, &c.old.Status
	complete := has(c.now, batchv1.JobComplete)
	if end := s.CompletionTime; end == nil {
		if complete {
			c.errs = append(c.errs, field.Required(c.at.Child("completionTime"), "completionTime is required for Complete jobs"))
		}
	} else {
		if !complete {
			c.invalid("completionTime", end, "cannot set completionTime when there is no Complete=True condition")
		}
		if s.StartTime != nil && end.Before(s.StartTime) {
			c.invalid("completionTime", end, "must be equal to or after `startTime`")
		}
		if old.CompletionTime != nil && !end.Equal(old.CompletionTime) {
			c.invalid("completionTime", end, "field is immutable")
		}
	}
	resuming := has(c.old, batchv1.JobSuspended) && is(c.now, batchv1.JobSuspended, corev1.ConditionFalse)
	if old.StartTime != nil && !old.StartTime.Equal(s.StartTime) && !resuming && !ptr.Deref(c.now.Spec.Suspend, false) {
		c.invalid("startTime", s.StartTime, "field is immutable for unsuspended job once set")
	}
}

func (c *statusCheck) indexes() {
	s, old, spec := &c.now.Status, &c.old.Status, &c.now.Spec
	newDone, newFailed := s.CompletedIndexes != old.CompletedIndexes, !ptr.Equal(s.FailedIndexes, old.FailedIndexes)
	if newDone && s.CompletedIndexes != "" && !indexed(spec) {
		c.invalid("completedIndexes", s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if newFailed && s.FailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		c.invalid("failedIndexes", *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if spec.Completions == nil {
		return
	}
	limit := int(*spec.Completions)
	done, err := parseIndexes(s.CompletedIndexes, limit)
	if err != nil && newDone {
		c.invalid("completedIndexes", s.CompletedIndexes, "error parsing completedIndexes: "+err.Error())
	}
	if s.FailedIndexes == nil {
		return
	}
	failed, err := parseIndexes(*s.FailedIndexes, limit)
	if err != nil && newFailed && spec.BackoffLimitPerIndex != nil {
		c.invalid("failedIndexes", *s.FailedIndexes, "error parsing failedIndexes: "+err.Error())
	}
	if i, both := common(done, failed); both && (newDone || newFailed) {
		c.invalid("failedIndexes", *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i))
	}
}
