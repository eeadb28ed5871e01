// Package rollbacktest plays the history of a workload that returns of itself:
// what its user writes, by chance, and what becomes of each template. It must
// not know what kind of workload that is.
package rollbacktest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// What becomes of the pods of a template.
const (
	works   = "works"
	hangs   = "hangs"
	crashes = "crashes"
)

// Play is one history. It is for one test at a time.
type Play struct {
	*rand.Rand
	Now time.Time
	// Latest is the revision of the template as it is.
	Latest string
	// Returned counts the rollbacks.
	Returned int

	revisions map[string]*appsv1.ControllerRevision
	fates     map[string]string
	worked    map[string]bool // the revisions that were recorded as complete
	left      map[string]bool // those returned from, since they were last written
}

// New begins a history with a template that works. The same seed plays the same.
func New(seed uint64) *Play {
	p := &Play{
		Rand: rand.New(rand.NewPCG(seed, 3)), Now: time.Unix(1e9, 0), //nolint:gosec // a seed makes failures repeatable
		revisions: map[string]*appsv1.ControllerRevision{}, fates: map[string]string{}, worked: map[string]bool{}, left: map[string]bool{},
	}
	p.write(works)
	return p
}

// Annotations are those of a workload in such a history.
func Annotations() map[string]string {
	return map[string]string{rollback.Annotation: rollback.OnFailure, rollback.AnnotationDeadline: "150"}
}

// writeAny gives the workload another template, or one that it had before.
func (p *Play) writeAny() { p.write([]string{works, hangs, crashes, crashes, ""}[p.IntN(5)]) }

func (p *Play) write(fate string) {
	name := fmt.Sprintf("r%d", len(p.revisions))
	if fate == "" {
		name = slices.Sorted(maps.Keys(p.revisions))[p.IntN(len(p.revisions))]
	} else {
		p.fates[name] = fate
	}
	if name != p.Latest {
		delete(p.left, name)
		p.turnTo(name)
	}
}

// turnTo makes a revision that of the template as controllers do: an old one
// gets a new number.
func (p *Play) turnTo(name string) {
	last := int64(0)
	for _, r := range p.revisions {
		last = max(last, r.Revision)
	}
	labels := map[string]string{appsv1.ControllerRevisionHashLabelKey: name}
	p.revisions[name] = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Revision: last + 1}
	p.Latest = name
}

// Revisions are all, and the latest one.
func (p *Play) Revisions() (all []*appsv1.ControllerRevision, latest *appsv1.ControllerRevision) {
	return slices.Collect(maps.Values(p.revisions)), p.revisions[p.Latest]
}

// Follow takes in what a controller found in one round: annotations are those
// that the workload had before. It checks a rollback, carries it out, and
// returns the annotations that the workload has then.
func (p *Play) Follow(t testing.TB, annotations map[string]string, r rollback.Return) map[string]string {
	t.Helper()
	complete := annotations[rollback.AnnotationComplete]
	if r.Annotations != nil {
		annotations = r.Annotations
	}
	if r.To == nil {
		if now := annotations[rollback.AnnotationComplete]; now != "" {
			p.worked[now] = true
		}
		return annotations
	}
	switch to := r.To.Name; {
	case complete == p.Latest:
		t.Fatalf("%s was complete and is left: %s", p.Latest, r.Why)
	case p.left[p.Latest]:
		t.Fatalf("%s is left twice", p.Latest)
	case !p.worked[to] && p.fates[to] != works:
		t.Fatalf("%s, which never worked, is returned to", to)
	case p.fates[p.Latest] == works:
		t.Fatalf("%s works and is left: %s", p.Latest, r.Why)
	case r.Why == "" || !rollback.Happened(r.Conditions):
		t.Fatalf("a return without a word: %+v", r)
	}
	p.left[p.Latest] = true
	p.Returned++
	p.turnTo(r.To.Name)
	return annotations
}

// Pass lets time pass.
func (p *Play) Pass() { p.Now = p.Now.Add(time.Duration(1+p.IntN(10)) * time.Second) }

// Become returns what has become of a pod of a revision meanwhile.
func (p *Play) Become(pod *corev1.Pod, revision string) *corev1.Pod {
	fate, flashing := p.fates[revision], workload.Ready(pod) && p.fates[revision] == crashes
	if p.IntN(2) == 0 && !flashing || fate == hangs || fate == works && pod.Status.Phase == corev1.PodRunning {
		return pod
	}
	restarts := int32(0)
	for _, c := range pod.Status.ContainerStatuses {
		restarts = c.RestartCount + 1
	}
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning}
	// Nothing says that a container is not ready before it ends the first time.
	flashes := fate == crashes && restarts == 0 && !flashing && p.IntN(2) == 0
	if fate == crashes && !flashes {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "c", RestartCount: restarts,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: rollback.ReasonCrashLoop}},
		}}
		return pod
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(p.Now)}}
	return pod
}

// Set is a workload in such a history.
type Set interface {
	// Round carries out a round of its controller, and lets time pass.
	Round(t *testing.T)
	// Settled checks that it is rolled out, and changes no more.
	Settled(t *testing.T)
}

// Histories plays many: whatever a user writes, the set runs in the end what
// works, and leaves nothing that does.
func Histories[S Set](t *testing.T, begin func(seed uint64) (S, *Play)) {
	t.Helper()
	returned := 0
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			set, p := begin(seed)
			if p.run(t, func() { set.Round(t) }) {
				returned += p.Returned
				set.Settled(t)
			}
		})
	}
	if returned == 0 {
		t.Error("nothing was ever returned from")
	}
}

// run plays rounds of a controller, with a user in between, until nothing should
// happen any more, and checks that the template works then. It returns false
// where no template ever came to work, and there was nothing to return to.
func (p *Play) run(t testing.TB, round func()) bool {
	t.Helper()
	for range 4 {
		for range p.IntN(90) {
			round()
		}
		p.writeAny()
	}
	for range 250 {
		round()
	}
	if len(p.worked) == 0 {
		return false
	}
	if p.fates[p.Latest] != works {
		t.Fatalf("it ends at %s, which %s", p.Latest, p.fates[p.Latest])
	}
	return true
}
