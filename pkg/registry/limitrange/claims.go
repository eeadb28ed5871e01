package limitrange

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
)

// validateClaimItem checks an item about claims, which have a size and nothing
// else.
func validateClaimItem(item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, l := range []struct {
		child string
		list  corev1.ResourceList
		acts  bool
	}{
		{"max", item.Max, true},
		{"min", item.Min, true},
		{"default", item.Default, false},
		{"defaultRequest", item.DefaultRequest, false},
		{"maxLimitRequestRatio", item.MaxLimitRequestRatio, false},
	} {
		for _, name := range slices.Sorted(maps.Keys(l.list)) {
			switch {
			case !l.acts:
				errs = append(errs, field.Forbidden(at.Child(l.child), fields.NotYet+"nothing acts by it for claims; use min and max"))
			case name != corev1.ResourceStorage:
				errs = append(errs, field.Forbidden(at.Child(l.child).Key(string(name)), fields.NotYet+"claims are held to storage alone; leave it out"))
			}
		}
	}
	_, least := item.Min[corev1.ResourceStorage]
	_, most := item.Max[corev1.ResourceStorage]
	if !least && !most {
		errs = append(errs, field.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
	}
	return append(errs, numbersOf(item, corev1.ResourceStorage).order(at)...)
}

// CheckClaim returns everything about a claim that a range does not allow.
func CheckClaim(l *corev1.LimitRange, c *corev1.PersistentVolumeClaim) []error {
	var errs []error
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		a := amounts{kind: string(item.Type), name: string(corev1.ResourceStorage)}
		a.request, a.requested = c.Spec.Resources.Requests[corev1.ResourceStorage]
		var bounded bool
		if a.bound, bounded = item.Min[corev1.ResourceStorage]; bounded {
			if text := a.least(); text != "" {
				errs = append(errs, Violation(text))
			}
		}
		if a.bound, bounded = item.Max[corev1.ResourceStorage]; bounded && a.request.Cmp(a.bound) > 0 {
			errs = append(errs, Violation(fmt.Sprintf("maximum %s usage per %s is %s, but request is %s", a.name, a.kind, a.bound.String(), a.request.String())))
		}
	}
	return errs
}
