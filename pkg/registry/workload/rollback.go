package workload

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The annotations of an automatic rollback that users write.
const (
	rollbackKey = "carob.dev/rollback"
	deadlineKey = "carob.dev/progress-deadline-seconds"
	onFailure   = "on-failure"
)

// ValidateRollback checks the annotations that ask for an automatic rollback. A
// value that the old object has already is left alone; old is nil for a new one.
func ValidateRollback(annotations, old map[string]string) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("metadata", "annotations")
	changed := func(key string) (string, bool) {
		value, said := annotations[key]
		before, had := old[key]
		return value, said && (!had || value != before)
	}
	if v, ok := changed(rollbackKey); ok && v != onFailure {
		errs = append(errs, field.NotSupported(at.Key(rollbackKey), v, []string{onFailure}))
	}
	if v, ok := changed(deadlineKey); ok {
		if n, err := strconv.ParseInt(v, 10, 32); err != nil || n <= 0 {
			errs = append(errs, field.Invalid(at.Key(deadlineKey), v, "must be a number of seconds greater than 0"))
		}
	}
	return errs
}
