package job

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// world is an API server with one Job, and a loop that may be cut off between
// any two of its writes.
type world struct {
	t    *testing.T
	r    *rand.Rand
	job  *batchv1.Job
	pods []*corev1.Pod
	now  time.Time
	next int
	back Backoff
	// ends is how each pod that was ever made ended.
	ends map[types.UID]corev1.PodPhase
	// dropped are pods whose end must not be counted.
	dropped map[types.UID]bool
	log     []string
}

const histories = 3000

func TestRandomHistories(t *testing.T) {
	for seed := range uint64(histories) {
		w := newWorld(t, seed)
		for range 120 {
			if Finished(w.job) {
				break
			}
			w.step()
			w.check(seed)
			if t.Failed() {
				t.Fatalf("seed %d: %+v\n%s", seed, w.job.Status, w.log)
			}
		}
		w.quiet(seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d histories", histories)
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test wants the same again
	w := &world{t: t, r: r, now: time.Unix(1e9, 0), ends: map[types.UID]corev1.PodPhase{}, dropped: map[types.UID]bool{}}
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "n", UID: "j"}}
	j.Spec.Parallelism = ptr.To(int32(r.IntN(4)))
	j.Spec.BackoffLimit = ptr.To(int32(r.IntN(5)))
	j.Spec.Suspend = ptr.To(r.IntN(6) == 0)
	j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}}
	if r.IntN(4) > 0 {
		j.Spec.Completions = ptr.To(int32(r.IntN(6)))
	}
	if j.Spec.Completions != nil && r.IntN(2) == 0 {
		j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		if r.IntN(2) == 0 {
			j.Spec.BackoffLimit, j.Spec.BackoffLimitPerIndex = ptr.To(int32(1<<31-1)), ptr.To(int32(r.IntN(2)))
		}
	}
	if r.IntN(3) == 0 {
		j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
	}
	w.job = j
	return w
}

func (w *world) step() {
	switch w.r.IntN(6) {
	case 0, 1:
		w.sync()
	case 2:
		w.now = w.now.Add(time.Duration(w.r.IntN(700)) * time.Second)
	case 3:
		if w.r.IntN(8) == 0 {
			w.job.Spec.Suspend = ptr.To(!*w.job.Spec.Suspend)
		}
	default:
		w.podEvent()
	}
	w.collect()
}

func (w *world) podEvent() {
	if len(w.pods) == 0 {
		return
	}
	p := w.pods[w.r.IntN(len(w.pods))]
	if workload.Terminated(p) {
		return
	}
	switch w.r.IntN(6) {
	case 0, 1:
		w.end(p, corev1.PodSucceeded)
	case 2:
		w.end(p, corev1.PodFailed)
	case 3:
		if p.DeletionTimestamp == nil {
			p.DeletionTimestamp = &metav1.Time{Time: w.now}
		}
	default:
		p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
}

func (w *world) end(p *corev1.Pod, phase corev1.PodPhase) {
	p.Status.Phase, p.Status.Conditions = phase, nil
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.Time{Time: w.now}}}}}
	w.ends[p.UID] = phase
}

// collect removes pods that are deleted, have ended and are held by nothing.
func (w *world) collect() {
	w.pods = slices.DeleteFunc(w.pods, func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && len(p.Finalizers) == 0 && (workload.Terminated(p) || w.r.IntN(2) == 0)
	})
}

// sync carries out one decision, or a part of it.
func (w *world) sync() {
	o := Observed{Job: w.job.DeepCopy(), Settled: w.r.IntN(8) > 0, Backoff: w.back, Now: w.now}
	for _, p := range w.pods {
		o.Pods = append(o.Pods, p.DeepCopy())
	}
	d := Decide(o)
	w.log = append(w.log, fmt.Sprintf("drop %d delete %d create %v release %d\n", len(d.Drop), len(d.Delete), len(d.Create), len(d.Release)))
	cut := w.r.IntN(5)
	for _, p := range d.Drop {
		w.release(p.UID)
		w.dropped[p.UID] = true
		w.remove(p.UID)
	}
	for _, p := range d.Delete {
		w.remove(p.UID)
	}
	for _, c := range d.Create {
		p := NewPod(w.job, c)
		w.next++
		p.UID, p.Name = types.UID(fmt.Sprint("p", w.next)), fmt.Sprint(p.GenerateName, w.next)
		p.CreationTimestamp.Time, p.Status.Phase = w.now, corev1.PodPending
		w.pods = append(w.pods, p)
	}
	if cut == 0 {
		return
	}
	w.job.Status = d.Status
	for i, p := range d.Release {
		if cut == 1 && i > 0 {
			return
		}
		w.release(p.UID)
	}
	w.back = d.Backoff
}

func (w *world) find(uid types.UID) *corev1.Pod {
	i := slices.IndexFunc(w.pods, func(p *corev1.Pod) bool { return p.UID == uid })
	if i < 0 {
		return &corev1.Pod{}
	}
	return w.pods[i]
}

func (w *world) release(uid types.UID) { w.find(uid).Finalizers = nil }

func (w *world) remove(uid types.UID) {
	if p := w.find(uid); p.DeletionTimestamp == nil {
		p.DeletionTimestamp = &metav1.Time{Time: w.now}
	}
}

// check holds what must be true at every moment.
func (w *world) check(seed uint64) {
	t, s, spec := w.t, w.job.Status, w.job.Spec
	active, indexes := 0, map[int]int{}
	for _, p := range w.pods {
		if !workload.Terminated(p) && p.DeletionTimestamp == nil {
			active++
			if i, ok := Index(p); ok {
				indexes[i]++
			}
		}
	}
	if active > int(*spec.Parallelism) {
		t.Errorf("seed %d: %d pods at a time", seed, active)
	}
	for i, n := range indexes {
		if n > 1 {
			t.Errorf("seed %d: %d pods of index %d", seed, n, i)
		}
	}
	if spec.Completions != nil && s.Succeeded > *spec.Completions {
		t.Errorf("seed %d: %d succeeded of %d", seed, s.Succeeded, *spec.Completions)
	}
	succeeded, failed := 0, 0
	for uid, phase := range w.ends {
		if phase == corev1.PodSucceeded {
			succeeded++
		} else if !w.dropped[uid] {
			failed++
		}
	}
	if int(s.Succeeded) > succeeded {
		t.Errorf("seed %d: the status counts %d succeeded of %d", seed, s.Succeeded, succeeded)
	}
}

// quiet: a settled Job is finished or waits, and causes no more writes.
func (w *world) quiet(seed uint64) {
	w.job.Spec.Suspend = ptr.To(false)
	for range 400 {
		if Finished(w.job) {
			break
		}
		o := Observed{Job: w.job.DeepCopy(), Settled: true, Backoff: w.back, Now: w.now}
		for _, p := range w.pods {
			o.Pods = append(o.Pods, p.DeepCopy())
		}
		d := Decide(o)
		if len(d.Drop)+len(d.Delete)+len(d.Create)+len(d.Release) == 0 && equality.Semantic.DeepEqual(d.Status, w.job.Status) {
			if !w.move(d) {
				break
			}
		}
		w.sync()
		w.collect()
	}
	if !Finished(w.job) && *w.job.Spec.Parallelism > 0 {
		w.t.Errorf("seed %d: it never ends: %+v, %d pods", seed, w.job.Status, len(w.pods))
	}
	if Finished(w.job) {
		for _, p := range w.pods {
			if len(p.Finalizers) > 0 {
				w.t.Errorf("seed %d: a finished Job holds %s", seed, p.Name)
			}
		}
	}
	if c := w.job.Spec.Completions; condition(w.job.Status.Conditions, batchv1.JobComplete) != nil && c != nil && w.job.Status.Succeeded != *c {
		w.t.Errorf("seed %d: complete with %d of %d", seed, w.job.Status.Succeeded, *c)
	}
}

// move lets time or a pod go on where the Job waits for that.
func (w *world) move(d Decision) bool {
	for _, p := range w.pods {
		if !workload.Terminated(p) {
			w.end(p, corev1.PodSucceeded)
			return true
		}
	}
	if d.Wake.IsZero() {
		return false
	}
	w.now = d.Wake
	return true
}
