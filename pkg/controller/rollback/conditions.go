package rollback

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Cond is a condition of a workload, whatever its kind calls it.
type Cond struct {
	Type               string
	Status             corev1.ConditionStatus
	LastTransitionTime metav1.Time
	Reason, Message    string
}

// Was returns the condition of the rollout, if there is one.
func Was(all []Cond) Progress {
	for _, c := range all {
		if c.Type == Progressing {
			return Progress{Reason: c.Reason, Since: c.LastTransitionTime.Time}
		}
	}
	return Progress{}
}

// Happened says whether the workload is where a rollback has brought it.
func Happened(all []Cond) bool {
	return slices.ContainsFunc(all, func(c Cond) bool { return c.Type == Condition })
}

// Without leaves out what this package sets.
func Without(all []Cond) []Cond {
	return slices.DeleteFunc(slices.Clone(all), func(c Cond) bool { return c.Type == Progressing || c.Type == Condition })
}

// Conditions returns those that hold then; why is told of a rollback.
func (o Outcome) Conditions(all []Cond, current, why string, now time.Time) []Cond {
	out := append(Without(all), Cond{
		Type: Progressing, Status: o.Progress.Status(), LastTransitionTime: metav1.NewTime(o.Progress.Since),
		Reason: o.Progress.Reason, Message: o.Progress.Message(current),
	})
	if o.To != "" {
		return append(out, Cond{Type: Condition, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now), Reason: o.Reason, Message: why})
	}
	for _, c := range all {
		if c.Type == Condition && o.Complete == current {
			out = append(out, c)
		}
	}
	return out
}
