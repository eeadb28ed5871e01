package rollback

import (
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/revision"
)

// Set is a workload whose rollout is followed.
type Set struct {
	Kind   string
	Object metav1.Object
	// Revisions are all that it has, Latest is that of its template.
	Revisions  []*appsv1.ControllerRevision
	Latest     *appsv1.ControllerRevision
	Conditions []Cond
}

// Return is what follows from how a rollout goes, where the workload is to
// return of itself when it fails.
type Return struct {
	// Annotations are those that the workload should have; nil: as it has.
	Annotations map[string]string
	// To, if not nil, is the revision to return to, and Why says what happened.
	To  *appsv1.ControllerRevision
	Why string
	// Conditions are those that hold then.
	Conditions []Cond
	// After is when to look again though nothing has changed; 0 is never.
	After time.Duration
}

// Follow judges the rollout of a set. It is pure. Of w it needs what only the
// kind knows: Complete, Advanced, Before, Pods and the time.
func Follow(s Set, w Workload) Return {
	byName, current := revision.ByName(s.Revisions), s.Latest.Name
	w.Annotations, w.Current, w.Was = s.Object.GetAnnotations(), current, Was(s.Conditions)
	w.Exists = func(name string) bool { return byName[name] != nil }
	w.All = slices.Sorted(maps.Keys(byName))
	o := Judge(w)
	r := Return{Annotations: o.Record(w.Annotations, current), To: byName[o.To], After: o.After}
	if r.To != nil {
		r.Why = fmt.Sprintf("%s %q returned from revision %d to revision %d: %s", s.Kind, s.Object.GetName(), s.Latest.Revision, r.To.Revision, o.Message)
	}
	r.Conditions = o.Conditions(s.Conditions, current, r.Why, w.Now)
	return r
}
