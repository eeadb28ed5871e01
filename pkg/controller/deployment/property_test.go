package deployment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/rollback"
)

// world is a deployment with its sets, in which the sets' controller and the
// pods are played by chance.
type world struct {
	t    *testing.T
	r    *rand.Rand
	d    *appsv1.Deployment
	sets map[string]*appsv1.ReplicaSet
	now  time.Time
	pods func(*appsv1.ReplicaSet) []*corev1.Pod
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d", UID: "uid", Generation: 1},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(r.Int32N(12)), RevisionHistoryLimit: ptr.To(r.Int32N(3)), ProgressDeadlineSeconds: ptr.To[int32](600),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
		},
	}
	d.Spec.Template.Labels = map[string]string{"a": "b"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i:0"}}
	share := func() *intstr.IntOrString {
		if r.IntN(2) == 0 {
			return ptr.To(intstr.FromInt32(r.Int32N(4)))
		}
		return ptr.To(intstr.FromString(fmt.Sprintf("%d%%", r.IntN(101))))
	}
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: share(), MaxUnavailable: share()}
	if r.IntN(4) == 0 {
		d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	return &world{t: t, r: r, d: d, sets: map[string]*appsv1.ReplicaSet{}, now: time.Unix(1e9, 0)}
}

func (w *world) list() []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range w.sets {
		out = append(out, rs.DeepCopy())
	}
	return out
}

// step decides and carries out; it reports whether anything was written.
func (w *world) step() bool {
	w.now = w.now.Add(time.Second)
	p := Decide(Input{Deployment: w.d.DeepCopy(), Sets: w.list(), Now: w.now, Pods: w.pods, OldPods: func(except string) bool {
		for _, rs := range w.sets {
			if rs.Name != except && rs.Status.Replicas > 0 {
				return true
			}
		}
		return false
	}})
	if p.Create != nil {
		rs := p.Create.DeepCopy()
		rs.UID, rs.Generation, rs.CreationTimestamp = types.UID(rs.Name), 1, metav1.NewTime(w.now)
		if w.sets[rs.Name] != nil {
			w.t.Fatalf("set %s is made twice", rs.Name)
		}
		w.sets[rs.Name] = rs
	}
	for _, r := range p.Resize {
		if r.From != replicas(r.Set) {
			r.Set.Generation++
		}
		w.sets[r.Set.Name] = r.Set.DeepCopy()
	}
	for _, rs := range p.Delete {
		if rs.Status.Replicas > 0 || replicas(rs) > 0 {
			w.t.Fatalf("set %s is deleted with pods", rs.Name)
		}
		delete(w.sets, rs.Name)
	}
	wrote := p.Create != nil || len(p.Resize)+len(p.Delete) > 0 || !apiequality.Semantic.DeepEqual(p.Status, w.d.Status)
	w.d.Status = p.Status
	w.d.Annotations = with(w.d.Annotations, annotationRevision, p.Revision)
	if p.Complete != "" {
		w.d.Annotations[rollback.AnnotationComplete] = p.Complete
	}
	return wrote
}

// live lets one set's controller and pods make some progress; stuck is an
// image that never becomes available.
func (w *world) live(stuck string) {
	for _, rs := range w.sets {
		if w.r.IntN(2) == 0 {
			continue
		}
		s, want := &rs.Status, replicas(rs)
		s.ObservedGeneration = rs.Generation
		if s.Replicas > want {
			gone := s.Replicas - want
			unready := s.Replicas - s.AvailableReplicas
			s.AvailableReplicas -= max(0, gone-unready)
		}
		s.Replicas = want
		if rs.Spec.Template.Spec.Containers[0].Image != stuck && s.AvailableReplicas < s.Replicas {
			s.AvailableReplicas += 1 + w.r.Int32N(s.Replicas-s.AvailableReplicas)
		}
		s.ReadyReplicas, s.TerminatingReplicas = s.AvailableReplicas, ptr.To[int32](0)
	}
}

func (w *world) check() {
	w.t.Helper()
	if w.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		images := 0
		for _, rs := range w.sets {
			if rs.Status.Replicas > 0 || replicas(rs) > 0 {
				images++
			}
		}
		if images > 1 {
			w.t.Fatalf("pods of %d templates at a time", images)
		}
		return
	}
	if total, most := sum(w.list(), replicas), wanted(w.d)+maxSurge(w.d); total > most {
		w.t.Fatalf("%d replicas, at most %d allowed", total, most)
	}
}

func (w *world) settle(stuck string, check bool) {
	w.t.Helper()
	for range 120 {
		was := sum(w.list(), available)
		w.step()
		if check {
			w.check()
		}
		w.live(stuck)
		if now := sum(w.list(), available); check && rolling(w.d) && now < was && now < minAvailable(w.d) {
			w.t.Fatalf("%d available after %d, at least %d wanted", now, was, minAvailable(w.d))
		}
	}
	for range 3 {
		if w.step() {
			w.t.Fatalf("a settled state causes a write: %+v", w.d.Status)
		}
	}
}

func (w *world) image(n int) {
	w.d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("i:%d", n)
	w.d.Generation++
}

func (w *world) finished() {
	w.t.Helper()
	if !complete(w.d, &w.d.Status) {
		w.t.Fatalf("not complete: %+v", w.d.Status)
	}
	if c := find(w.d.Status.Conditions, appsv1.DeploymentProgressing); c == nil || c.Reason != reasonNewAvailable {
		w.t.Fatalf("condition %+v", c)
	}
}

func TestRolloutsStayInBounds(t *testing.T) {
	for seed := range uint64(25) {
		w := newWorld(t, seed)
		w.settle("", true)
		w.finished()
		for n := 1; n < 4; n++ {
			w.image(n)
			for range w.r.IntN(6) { // a rollover: the next one comes early
				w.step()
				w.check()
				w.live("")
			}
		}
		w.settle("", true)
		w.finished()
		if n := len(w.sets); n > int(*w.d.Spec.RevisionHistoryLimit)+1 {
			t.Fatalf("%d sets", n)
		}
		// A rollout that is stuck keeps the minimum available, whatever happens.
		w.image(9)
		w.settleStuck("i:9")
		// Resized in the middle of that, and in the end let go.
		w.d.Spec.Replicas = ptr.To(w.r.Int32N(20))
		w.d.Generation++
		w.settleStuck("i:9")
		w.image(10)
		w.settle("", false)
		w.finished()
	}
}

func (w *world) settleStuck(image string) {
	w.t.Helper()
	for range 60 {
		w.step()
		w.live(image)
	}
	// The size that was wanted counts from here on.
	for range 60 {
		w.step()
		w.check()
		w.live(image)
		if now := sum(w.list(), available); rolling(w.d) && now < minAvailable(w.d) && now > 0 && sum(w.list(), replicas) > wanted(w.d)+maxSurge(w.d) {
			w.t.Fatalf("%d available, at least %d wanted", now, minAvailable(w.d))
		}
	}
}

func TestDeadlineAndRollback(t *testing.T) {
	w := newWorld(t, 1)
	w.d.Spec.Replicas = ptr.To[int32](3)
	w.d.Spec.RevisionHistoryLimit = ptr.To[int32](5)
	w.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
		MaxSurge: ptr.To(intstr.FromString("25%")), MaxUnavailable: ptr.To(intstr.FromString("25%")),
	}}
	w.settle("", true)
	w.d.Annotations[rollback.Annotation] = rollback.OnFailure
	w.image(1)
	w.settle("i:1", true)
	w.now = w.now.Add(time.Hour)
	p := Decide(Input{Deployment: w.d, Sets: w.list(), Now: w.now})
	c := find(p.Status.Conditions, appsv1.DeploymentProgressing)
	if c.Reason != reasonTimedOut || c.Status != corev1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
	if p.Rollback == nil || p.Rollback.Spec.Template.Spec.Containers[0].Image != "i:0" {
		t.Errorf("rollback to %+v", p.Rollback)
	}
	if c = find(p.Status.Conditions, rollback.Condition); c == nil || c.Reason != rollback.ReasonTimedOut || !strings.Contains(c.Message, "returned from revision 2 to revision 1") {
		t.Errorf("condition %+v", c)
	}
}

// returns carries out a rollback, if the plan has one.
func (w *world) returns() bool {
	p := Decide(Input{Deployment: w.d.DeepCopy(), Sets: w.list(), Now: w.now, Pods: w.pods})
	if p.Rollback == nil {
		return false
	}
	w.d.Spec.Template = *p.Rollback.Spec.Template.DeepCopy()
	delete(w.d.Spec.Template.Labels, hashLabel)
	w.d.Generation++
	return true
}

// Revisions fail in any order, in time or not, by crashing after they were
// complete for a moment or by never becoming so. Whatever happens, each failing
// revision is left at most once, for one that was complete and never failed.
func TestRollbackHistories(t *testing.T) {
	for seed := range uint64(15) {
		w := newWorld(t, seed)
		w.d.Spec.Replicas = ptr.To(1 + w.r.Int32N(3))
		w.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
			MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
		}}
		w.d.Annotations = map[string]string{rollback.Annotation: rollback.OnFailure}
		good, bad := "i:0", map[string]string{}
		w.pods = func(rs *appsv1.ReplicaSet) []*corev1.Pod {
			if bad[rs.Spec.Template.Spec.Containers[0].Image] != "crashes" {
				return nil
			}
			return []*corev1.Pod{crashing()}
		}
		image := func() string { return w.d.Spec.Template.Spec.Containers[0].Image }
		stuck := func() string {
			if bad[image()] == "stuck" {
				return image()
			}
			return ""
		}
		for n := range 8 {
			if n > 0 {
				w.image(n)
				if kind := []string{"", "stuck", "crashes"}[w.r.IntN(3)]; kind != "" {
					bad[image()] = kind
				}
			}
			rollbacks, failing := 0, image()
			early := n > 0 && w.r.IntN(5) == 0 // the next template comes before this one is done
			for i := range 200 {
				if early && i == 3 {
					break
				}
				if i == 40 {
					w.now = w.now.Add(time.Hour)
				}
				w.step()
				w.live(stuck())
				if !w.returns() {
					continue
				}
				if rollbacks++; rollbacks > 1 || bad[failing] == "" || image() != good {
					t.Fatalf("seed %d: %d rollbacks from %s (%q), now %s, good is %s", seed, rollbacks, failing, bad[failing], image(), good)
				}
			}
			switch {
			case early:
				if complete(w.d, &w.d.Status) && bad[image()] == "" {
					good = image()
				}
			case bad[failing] == "":
				good = failing
			case rollbacks == 0:
				t.Fatalf("seed %d: %s is %s and stays", seed, failing, bad[failing])
			}
		}
	}
}

func crashing() *corev1.Pod {
	p := &corev1.Pod{}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "c", RestartCount: 2, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
	}}
	return p
}
