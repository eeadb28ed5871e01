package daemonset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var began = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func daemon(change func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "n", UID: "d"}}
	d.Spec.Template.Labels = map[string]string{"app": "d"}
	d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
		MaxUnavailable: ptr.To(intstr.FromInt32(1)), MaxSurge: ptr.To(intstr.FromInt32(0)),
	}}
	if change != nil {
		change(d)
	}
	return d
}

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{Taints: taints}}
}

func taint(key string, effect corev1.TaintEffect) corev1.Taint {
	return corev1.Taint{Key: key, Effect: effect}
}

// pod is one on a node, of a template, in a phase; ready ones are marked +.
func pod(d *appsv1.DaemonSet, on, hash, phase string) *corev1.Pod {
	p := newPod(d, on, hash)
	p.Name = on + "-" + hash
	p.UID, p.Spec.NodeName = types.UID(p.Name), on
	p.Status.Phase = corev1.PodPhase(strings.TrimSuffix(phase, "+"))
	if strings.HasSuffix(phase, "+") {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(began)}}
	}
	return p
}

func describe(p Plan) string {
	var out []string
	for _, c := range p.Create {
		out = append(out, "create on "+nodeOf(c))
	}
	for _, d := range p.Delete {
		out = append(out, "delete "+d.Name)
	}
	for _, e := range p.Events {
		out = append(out, e.Reason)
	}
	return strings.Join(out, ", ")
}

func surge(n string) func(*appsv1.DaemonSet) {
	return func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(0))
		d.Spec.UpdateStrategy.RollingUpdate.MaxSurge = ptr.To(intstr.Parse(n))
	}
}

func TestDecide(t *testing.T) {
	onDelete := func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	}
	leaving := func(p *corev1.Pod) *corev1.Pod { p.DeletionTimestamp = &metav1.Time{Time: began}; return p }
	waiting := func(p *corev1.Pod) *corev1.Pod { p.Spec.NodeName = ""; return p }
	d := daemon(nil)
	for title, c := range map[string]struct {
		set   *appsv1.DaemonSet
		nodes []*corev1.Node
		pods  []*corev1.Pod
		want  string
	}{
		"one on each":             {d, []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "h", "Running+")}, "create on b"},
		"settled":                 {d, []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "h", "Running+")}, ""},
		"waits for the scheduler": {d, []*corev1.Node{node("a")}, []*corev1.Pod{waiting(pod(d, "a", "h", "Pending"))}, ""},
		"waits for the end":       {d, []*corev1.Node{node("a")}, []*corev1.Pod{leaving(pod(d, "a", "h", "Running"))}, ""},
		"cordoned":                {d, []*corev1.Node{node("a", taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule))}, nil, "create on a"},
		"not ready":               {d, []*corev1.Node{node("a", taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute))}, nil, "create on a"},
		"repels new ones":         {d, []*corev1.Node{node("a", taint("x", corev1.TaintEffectNoSchedule))}, nil, ""},
		"keeps what it has":       {d, []*corev1.Node{node("a", taint("x", corev1.TaintEffectNoSchedule))}, []*corev1.Pod{pod(d, "a", "h", "Running+")}, ""},
		"repels all":              {d, []*corev1.Node{node("a", taint("x", corev1.TaintEffectNoExecute))}, []*corev1.Pod{pod(d, "a", "h", "Running+")}, "delete a-h"},
		"other node":              {daemon(func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.NodeSelector = map[string]string{"name": "b"} }), []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "h", "Running+")}, "create on b, delete a-h"},
		"failed":                  {d, []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "h", "Failed")}, "delete a-h, FailedDaemonPod"},
		"succeeded":               {d, []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "h", "Succeeded")}, "delete a-h, SucceededDaemonPod"},
		"two":                     {d, []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "h", "Running+"), pod(d, "a", "i", "Running+")}, "delete a-i"},
		"node is gone":            {d, []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "h", "Running+"), waiting(pod(d, "b", "h", "Pending"))}, "delete b-h"},
		"deleted":                 {daemon(func(d *appsv1.DaemonSet) { d.DeletionTimestamp = &metav1.Time{} }), []*corev1.Node{node("a")}, nil, ""},
		"rolls one":               {d, []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "old", "Running+"), pod(d, "b", "old", "Running+")}, "delete a-old"},
		"waits for the new one":   {d, []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "h", "Running"), pod(d, "b", "old", "Running+")}, ""},
		"what is down is no loss": {d, []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "h", "Running"), pod(d, "b", "old", "Pending")}, "delete b-old"},
		"on delete":               {daemon(onDelete), []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "old", "Running+")}, ""},
		"surges":                  {daemon(surge("50%")), []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "old", "Running+"), pod(d, "b", "old", "Running+")}, "create on a"},
		"surge waits":             {daemon(surge("1")), []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "old", "Running+"), pod(d, "a", "h", "Running"), pod(d, "b", "old", "Running+")}, ""},
		"surge goes on":           {daemon(surge("1")), []*corev1.Node{node("a"), node("b")}, []*corev1.Pod{pod(d, "a", "old", "Running+"), pod(d, "a", "h", "Running+"), pod(d, "b", "old", "Running+")}, "delete a-old"},
		"surge replaces at once":  {daemon(surge("1")), []*corev1.Node{node("a")}, []*corev1.Pod{pod(d, "a", "old", "Running")}, "create on a"},
	} {
		got := Decide(Input{Set: c.set, Pods: c.pods, Nodes: c.nodes, Hash: "h", Now: began.Add(time.Minute)})
		if describe(got) != c.want {
			t.Errorf("%s: %s, want %s", title, describe(got), c.want)
		}
	}
}

func TestPodsOfASet(t *testing.T) {
	d := daemon(func(d *appsv1.DaemonSet) {
		d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "7"}
		d.Spec.Template.Spec.HostNetwork = true
		d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
	})
	p := newPod(d, "a", "h")
	if p.Labels["app"] != "d" || p.Labels[hashLabel] != "h" || p.Labels[generationLabel] != "7" || nodeOf(p) != "a" || len(p.Spec.Tolerations) != 7 {
		t.Errorf("%+v", p)
	}
	if len(d.Spec.Template.Labels) != 1 || d.Spec.Template.Spec.Affinity != nil {
		t.Error("the template was written to")
	}
}

func TestFailedPodsAreReplacedMoreAndMoreSlowly(t *testing.T) {
	d := daemon(nil)
	in := Input{Set: d, Pods: []*corev1.Pod{pod(d, "a", "h", "Failed")}, Nodes: []*corev1.Node{node("a")}, Hash: "h", Now: began}
	var waits []time.Duration
	for range 12 {
		p := Decide(in)
		if len(p.Delete) != 1 {
			t.Fatalf("at %v: %+v", in.Now, p)
		}
		in.Failures = p.Failures
		p = Decide(in)
		if len(p.Delete) != 0 || p.After <= 0 {
			t.Fatalf("at once again: %+v", p)
		}
		waits = append(waits, p.After)
		in.Now = in.Now.Add(p.After)
	}
	if waits[0] != time.Second || waits[1] != 2*time.Second || waits[11] != 15*time.Minute {
		t.Errorf("%v", waits)
	}
}

// TestRollouts plays random worlds: pods get ready and fail, nodes come, go and
// are tainted, templates change.
func TestRollouts(t *testing.T) {
	for seed := range uint64(300) {
		w := newWorld(seed)
		for step := range 120 {
			quiet := step > 60
			w.disturb(quiet)
			w.decide(t, quiet)
		}
		w.settled(t)
	}
}

type world struct {
	*rand.Rand
	seed  uint64
	set   *appsv1.DaemonSet
	nodes []*corev1.Node
	pods  []*corev1.Pod
	hash  int
	made  int
	now   time.Time
	fails Failures
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 3)), seed: seed, now: began} //nolint:gosec // a seed makes failures repeatable
	w.set = daemon([]func(*appsv1.DaemonSet){nil, surge("1"), surge("40%"), func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromString("30%"))
	}}[w.IntN(4)])
	for i := range 1 + w.IntN(6) {
		w.nodes = append(w.nodes, node(fmt.Sprint("n", i)))
	}
	return w
}

func (w *world) disturb(quiet bool) {
	w.now = w.now.Add(time.Duration(w.IntN(40)) * time.Second)
	w.pods = slices.DeleteFunc(w.pods, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && w.IntN(2) == 0 })
	for _, p := range w.pods {
		switch {
		case p.Spec.NodeName == "":
			p.Spec.NodeName = nodeOf(p)
		case w.IntN(2) == 0 && p.Status.Phase == corev1.PodPending:
			*p = *ready(p, w.now)
		case !quiet && w.IntN(12) == 0:
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed}
		}
	}
	if quiet {
		return
	}
	if w.IntN(15) == 0 {
		w.hash++
	}
	if w.IntN(10) == 0 {
		n := w.nodes[w.IntN(len(w.nodes))]
		n.Spec.Taints = nil
		if w.IntN(2) == 0 {
			n.Spec.Taints = []corev1.Taint{taint("x", []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}[w.IntN(2)])}
		}
	}
}

func ready(p *corev1.Pod, now time.Time) *corev1.Pod {
	p = p.DeepCopy()
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now)}}
	return p
}

func (w *world) plan() Plan {
	return Decide(Input{Set: w.set, Pods: w.pods, Nodes: w.nodes, Hash: fmt.Sprint("h", w.hash), Failures: w.fails, Now: w.now})
}

// decide carries out what is decided, and holds it to the rollout's bounds.
func (w *world) decide(t *testing.T, quiet bool) {
	t.Helper()
	before := w.available()
	p := w.plan()
	w.fails = p.Failures
	for _, gone := range p.Delete {
		for _, q := range w.pods {
			if q.UID == gone.UID {
				if q.DeletionTimestamp != nil {
					t.Fatalf("seed %d: %s is deleted twice", w.seed, q.Name)
				}
				q.DeletionTimestamp = &metav1.Time{Time: w.now}
			}
		}
	}
	for _, c := range p.Create {
		w.made++
		c.Name = fmt.Sprint("p", w.made)
		c.UID, c.CreationTimestamp, c.Status.Phase = types.UID(c.Name), metav1.NewTime(w.now), corev1.PodPending
		w.pods = append(w.pods, c)
	}
	in := Input{Set: w.set}
	pl := &plan{Input: in, desired: int(p.Status.DesiredNumberScheduled)}
	surge, unavailable := pl.limits()
	perNode := map[string]int{}
	for _, q := range w.pods {
		if q.DeletionTimestamp == nil && q.Status.Phase != corev1.PodFailed {
			if perNode[nodeOf(q)]++; perNode[nodeOf(q)] > 2 || surge == 0 && perNode[nodeOf(q)] > 1 {
				t.Fatalf("seed %d: %d pods on %s", w.seed, perNode[nodeOf(q)], nodeOf(q))
			}
		}
	}
	// As long as nothing but the rollout takes pods away, it keeps its bound.
	if after := w.available(); quiet && after < before && int(p.Status.DesiredNumberScheduled)-after > unavailable {
		t.Fatalf("seed %d: %d of %d available after %s", w.seed, after, p.Status.DesiredNumberScheduled, describe(p))
	}
}

// available is on how many nodes that should have one a pod serves.
func (w *world) available() int {
	place, n := placeOf(w.set), 0
	for _, node := range w.nodes {
		run, _ := place.suits(node)
		if run && slices.ContainsFunc(w.pods, func(p *corev1.Pod) bool {
			return nodeOf(p) == node.Name && p.DeletionTimestamp == nil && len(p.Status.Conditions) > 0
		}) {
			n++
		}
	}
	return n
}

func (w *world) settled(t *testing.T) {
	t.Helper()
	for range 400 {
		w.now = w.now.Add(time.Minute)
		w.disturb(true)
		w.decide(t, true)
	}
	p := w.plan()
	s := p.Status
	if describe(p) != "" || p.After != 0 || s.NumberAvailable != s.DesiredNumberScheduled || s.UpdatedNumberScheduled != s.DesiredNumberScheduled || s.NumberUnavailable != 0 {
		t.Fatalf("seed %d does not settle: %s, %v, %+v", w.seed, describe(p), p.After, s)
	}
}
