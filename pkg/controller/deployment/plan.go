package deployment

import (
	"maps"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/rollback"
)

// Input is what a decision is made on.
type Input struct {
	Deployment *appsv1.Deployment
	// Sets are the ReplicaSets it controls.
	Sets []*appsv1.ReplicaSet
	// OldPods says whether there are pods, of any set but the one named, that
	// have not ended. It is asked in a Recreate rollout only.
	OldPods func(except string) bool
	// Pods returns the pods of a set. It is asked where a rollback is wanted.
	Pods func(*appsv1.ReplicaSet) []*corev1.Pod
	Now  time.Time
}

// Resize is a change of a set.
type Resize struct {
	Set *appsv1.ReplicaSet
	// From is the size it had; it may be the size it has, where only
	// annotations change.
	From int32
}

// Plan are the next writes, in the order in which they are to be made, and the
// status that holds when they have been.
type Plan struct {
	// Create, if not nil, is a set to be made.
	Create *appsv1.ReplicaSet
	Resize []Resize
	Delete []*appsv1.ReplicaSet
	// Status and Revision are what the deployment's status and its annotation
	// should say.
	Status   appsv1.DeploymentStatus
	Revision string
	// Rollback, if not nil, is the set to whose template the deployment
	// returns of itself.
	Rollback *appsv1.ReplicaSet
	// Why says from where, to where, and for what reason.
	Why string
	// Complete names the last complete revision; empty: what is recorded stays.
	Complete string
	// After is when to look again though nothing has happened; 0 is never.
	After time.Duration
}

// planner holds the sets as they will be when the plan is done.
type planner struct {
	Input
	d       *appsv1.Deployment
	current *appsv1.ReplicaSet
	old     []*appsv1.ReplicaSet
	created bool
	plan    Plan
}

// Decide returns what to do next for a deployment.
func Decide(in Input) Plan {
	p := &planner{Input: in, d: in.Deployment}
	p.current, p.old = split(p.d, copies(in.Sets))
	next := int64(1)
	for _, rs := range p.old {
		next = max(next, revision(rs.Annotations)+1)
	}
	if p.current != nil {
		annotate(p.d, p.current, next, false)
		p.current.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
	}
	rollout := false
	switch {
	case p.d.DeletionTimestamp != nil:
	case p.d.Spec.Paused:
		p.scale()
		p.cleanUp()
	case p.scaling():
		p.scale()
	case rolling(p.d):
		p.ensure(next)
		p.roll()
		rollout = true
	default:
		p.recreate(next)
		rollout = true
	}
	p.finish(rollout)
	return p.plan
}

func copies(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	out := make([]*appsv1.ReplicaSet, len(sets))
	for i, rs := range sets {
		out[i] = rs.DeepCopy()
	}
	return out
}

// ensure makes the current set if there is none.
func (p *planner) ensure(next int64) {
	if p.current != nil {
		return
	}
	p.current, p.created = newSet(p.d), true
	p.current.Spec.Replicas = ptr.To(p.grown())
	annotate(p.d, p.current, next, true)
}

func (p *planner) all() []*appsv1.ReplicaSet {
	if p.current == nil {
		return p.old
	}
	return append(slices.Clone(p.old), p.current)
}

// resize sets the size of a set and remembers for which size of the deployment.
func (p *planner) resize(rs *appsv1.ReplicaSet, n int32) bool {
	changed := replicas(rs) != n
	rs.Spec.Replicas = ptr.To(n)
	noteSizes(p.d, rs)
	return changed
}

// resizeIfNeeded leaves a set of the right size alone.
func (p *planner) resizeIfNeeded(rs *appsv1.ReplicaSet, n int32) bool {
	return replicas(rs) != n && p.resize(rs, n)
}

// grown is the size the current set may have without exceeding the surge.
func (p *planner) grown() int32 {
	have, want := replicas(p.current), wanted(p.d)
	if !rolling(p.d) {
		return want
	}
	room := want + maxSurge(p.d) - sum(p.all(), replicas)
	if room <= 0 {
		return have
	}
	return have + min(room, want-have)
}

// roll moves one step from the old sets to the current one.
func (p *planner) roll() {
	want := wanted(p.d)
	target := want
	if replicas(p.current) < want {
		target = p.grown()
	}
	if p.resizeIfNeeded(p.current, target) || p.created {
		return
	}
	if p.shrinkOld() {
		return
	}
	if complete(p.d, &p.d.Status) {
		p.cleanUp()
	}
}

// shrinkOld takes from the old sets what is not needed: first pods that are
// not available anyway, then as many as keep the minimum available.
func (p *planner) shrinkOld() bool {
	old := active(p.old)
	least := minAvailable(p.d)
	missing := replicas(p.current) - sure(p.current)
	room := sum(p.all(), replicas) - least - missing
	if room <= 0 || len(old) == 0 {
		return false
	}
	var done int32
	for _, rs := range old {
		n := min(room-done, replicas(rs)-sure(rs))
		if n > 0 {
			p.resize(rs, replicas(rs)-n)
			done += n
		}
	}
	spare := sum(append(slices.Clone(old), p.current), sure) - least
	for _, rs := range old {
		n := min(spare, replicas(rs))
		if n > 0 {
			p.resize(rs, replicas(rs)-n)
			spare -= n
			done += n
		}
	}
	return done > 0
}

// recreate starts the current set only when nothing of the old ones is left.
func (p *planner) recreate(next int64) {
	shrunk := false
	for _, rs := range p.old {
		shrunk = p.resizeIfNeeded(rs, 0) || shrunk
	}
	name := ""
	if p.current != nil {
		name = p.current.Name
	}
	if shrunk || sum(p.old, func(rs *appsv1.ReplicaSet) int32 { return rs.Status.Replicas }) > 0 || p.OldPods(name) {
		return
	}
	p.ensure(next)
	p.resizeIfNeeded(p.current, wanted(p.d))
	if complete(p.d, &p.d.Status) {
		p.cleanUp()
	}
}

// cleanUp deletes old sets beyond the history's limit that have no pods.
func (p *planner) cleanUp() {
	limit := ptr.Deref(p.d.Spec.RevisionHistoryLimit, math.MaxInt32)
	if limit == math.MaxInt32 {
		return
	}
	keep := ""
	if rollback.Wanted(p.d.Annotations) {
		keep = p.d.Annotations[rollback.AnnotationComplete]
	}
	alive := slices.DeleteFunc(slices.Clone(p.old), func(rs *appsv1.ReplicaSet) bool {
		return rs.DeletionTimestamp != nil || keep != "" && hashOf(rs) == keep
	})
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return int(max(-1, min(1, revision(a.Annotations)-revision(b.Annotations))))
	})
	for i := 0; i < len(alive)-int(limit); i++ {
		rs := alive[i]
		if rs.Status.Replicas == 0 && replicas(rs) == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			p.plan.Delete = append(p.plan.Delete, rs)
		}
	}
}

// finish turns the sets as they should be into writes, and adds the status.
func (p *planner) finish(rollout bool) {
	was := map[string]*appsv1.ReplicaSet{}
	for _, rs := range p.Sets {
		was[rs.Name] = rs
	}
	for _, rs := range p.all() {
		before := was[rs.Name]
		switch {
		case before == nil:
			p.plan.Create = rs
		case replicas(before) != replicas(rs), before.Spec.MinReadySeconds != rs.Spec.MinReadySeconds,
			!maps.Equal(before.Annotations, rs.Annotations) && !apiequality.Semantic.DeepEqual(before.Annotations, rs.Annotations):
			p.plan.Resize = append(p.plan.Resize, Resize{Set: rs, From: replicas(before)})
		}
	}
	p.plan.Revision = p.d.Annotations[annotationRevision]
	if p.current != nil {
		p.plan.Revision = p.current.Annotations[annotationRevision]
	}
	p.status(rollout)
}
