package scheduler

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

func priority(n int32) podOption { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func started(minutes int) podOption {
	return func(p *corev1.Pod) {
		p.Status.StartTime = ptr.To(metav1.NewTime(time.Unix(0, 0).Add(time.Duration(minutes) * time.Minute)))
	}
}

func never(p *corev1.Pod) { p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever) }

func leaving(p *corev1.Pod) {
	p.DeletionTimestamp = &metav1.Time{}
	p.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
	}}
}

// preempt asks for a place and for victims.
func preempt(t interface{ Fatalf(string, ...any) }, p *corev1.Pod, s *Snapshot, n Nomination) (Preemption, *FitError) {
	_, err := Schedule(p, s)
	fit := (*FitError)(nil)
	if !errors.As(err, &fit) {
		t.Fatalf("want a FitError, got %v", err)
	}
	out := Preempt(p, s, fit, n)
	fit.Preemption = out.Message
	return out, fit
}

func TestPreempt(t *testing.T) {
	small := func(name string) *corev1.Node {
		return testNode(name, func(n *corev1.Node) { n.Status.Allocatable = list("cpu", "2", "memory", "8Gi", "pods", "10") })
	}
	one := func(name string, prio int32, more ...podOption) *corev1.Pod {
		return testPod(name, append([]podOption{asks("cpu", "1"), priority(prio)}, more...)...)
	}
	const insufficient = "0/1 nodes are available: 1 Insufficient cpu. preemption: "
	for name, tc := range map[string]struct {
		nodes   []*corev1.Node
		on      map[string][]*corev1.Pod
		pod     *corev1.Pod
		nominee Nomination
		node    string
		victims []string
		says    string
	}{
		"the lower one": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("low", 1), one("mid", 5)}},
			pod: one("p", 10), node: "a", victims: []string{"low"},
			says: insufficient + "found a potential placement for pod on node a, preempting 1 victims",
		},
		"both, if need be": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("low", 1), one("mid", 5)}},
			pod: testPod("p", asks("cpu", "2"), priority(10)), node: "a", victims: []string{"mid", "low"},
		},
		"the younger of two": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("young", 1, started(9)), one("old", 1, started(1))}},
			pod: one("p", 10), node: "a", victims: []string{"young"},
		},
		"where the least important are": {
			nodes: []*corev1.Node{small("a"), small("b")},
			on:    map[string][]*corev1.Pod{"a": {one("x", 5), one("y", 20)}, "b": {one("z", 4), one("w", 20)}},
			pod:   one("p", 10), node: "b", victims: []string{"z"},
		},
		"fewer rather than more": {
			nodes: []*corev1.Node{small("a"), small("b")},
			on: map[string][]*corev1.Pod{
				"a": {testPod("x", asks("cpu", "500m"), priority(1)), testPod("y", asks("cpu", "500m"), priority(1)), one("t", 20)},
				"b": {one("z", 1), one("w", 20)},
			},
			pod: one("p", 10), node: "b", victims: []string{"z"},
		},
		"not its equals": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 10), one("y", 10)}},
			pod:  one("p", 10),
			says: insufficient + "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
		},
		"not enough": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 20), one("y", 1)}},
			pod:  testPod("p", asks("cpu", "2"), priority(10)),
			says: insufficient + "0/1 nodes are available: 1 Insufficient cpu.",
		},
		"more than there is": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 1)}},
			pod:  testPod("p", asks("cpu", "3"), priority(10)),
			says: insufficient + "0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"a taint": {
			nodes: []*corev1.Node{testNode("a", taint("x", corev1.TaintEffectNoSchedule)), small("b")},
			on:    map[string][]*corev1.Pod{"b": {one("x", 20), one("y", 20)}},
			pod:   one("p", 10),
			says: "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: " +
				"0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.",
		},
		"never": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 1), one("y", 1)}},
			pod: one("p", 10, never), says: insufficient + "not eligible due to preemptionPolicy=Never.",
		},
		"still leaving": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 1, leaving), one("y", 1)}},
			pod: one("p", 10), nominee: Nomination{Node: "a"},
			says: insufficient + "not eligible due to a terminating pod on the nominated node.",
		},
		"told to leave a moment ago": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 1), one("y", 1)}},
			pod: one("p", 10), nominee: Nomination{Node: "a", Victims: []types.UID{"x"}},
			says: insufficient + "not eligible due to a terminating pod on the nominated node.",
		},
		"a host port": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {one("x", 1, port(80, "", "")), one("y", 0)}},
			pod: testPod("p", priority(10), port(80, "", "")), node: "a", victims: []string{"x"},
		},
		"an aversion": {
			nodes: []*corev1.Node{small("a")}, on: map[string][]*corev1.Pod{"a": {testPod("x", labelled("app", "db"), priority(1)), one("y", 0)}},
			pod: testPod("p", priority(10), farFrom("db", corev1.LabelHostname)), node: "a", victims: []string{"x"},
		},
		"a spread": {
			nodes: []*corev1.Node{testNode("a", inZone("x")), testNode("b", inZone("y"), cordoned)},
			on:    map[string][]*corev1.Pod{"a": {web("x", priority(1)), testPod("y", priority(0))}},
			pod:   web("p", priority(10), spreadBy(zone, 1, corev1.DoNotSchedule)), node: "a", victims: []string{"x"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshotOf(tc.nodes...)
			for node, pods := range tc.on {
				for _, p := range pods {
					s.SetPod(p, node)
				}
			}
			got, fit := preempt(t, tc.pod, s, tc.nominee)
			if diff := cmp.Diff(tc.victims, names(got.Victims)); diff != "" || got.Node != tc.node {
				t.Errorf("node %q (-want +got)\n%s", got.Node, diff)
			}
			if tc.says != "" && fit.Error() != tc.says {
				t.Errorf("got  %s\nwant %s", fit, tc.says)
			}
			if got.Waiting != (tc.nominee.Node != "") {
				t.Errorf("waiting %v", got.Waiting)
			}
		})
	}
}

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

func TestPreemptSparesBudgets(t *testing.T) {
	small := func(name string) *corev1.Node {
		return testNode(name, func(n *corev1.Node) { n.Status.Allocatable = list("cpu", "2", "memory", "8Gi", "pods", "10") })
	}
	one := func(name, app string, prio int32) *corev1.Pod {
		return testPod(name, asks("cpu", "1"), priority(prio), labelled("app", app))
	}
	budget := func(name string, allowed int32, selector *metav1.LabelSelector, counted ...string) *policyv1.PodDisruptionBudget {
		b := &policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: one("x", "", 0).Namespace, Name: name},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: selector},
			Status:     policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, DisruptedPods: map[string]metav1.Time{}},
		}
		for _, c := range counted {
			b.Status.DisruptedPods[c] = metav1.Time{}
		}
		return b
	}
	app := func(name string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	}
	two := func(a ...*corev1.Pod) map[string][]*corev1.Pod { return map[string][]*corev1.Pod{"a": a} }
	elsewhere := budget("b", 0, app("db"))
	elsewhere.Namespace = "other"
	for name, tc := range map[string]struct {
		budgets []*policyv1.PodDisruptionBudget
		on      map[string][]*corev1.Pod
		asks    string
		node    string
		victims []string
	}{
		"the more important one goes": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, app("db"))},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"web"},
		},
		"where something is allowed": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 1, app("db"))},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"db"},
		},
		"only one is allowed": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 1, app("db"))},
			// The first of them is within the budget, and so the one to go.
			on: two(one("db-1", "db", 2), one("db-2", "db", 1)), asks: "1", node: "a", victims: []string{"db-1"},
		},
		"broken all the same": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, app("db"))},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "2", node: "a", victims: []string{"web", "db"},
		},
		"another node": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, app("db"))},
			on: map[string][]*corev1.Pod{
				"a": {one("db-1", "db", 1), one("db-2", "db", 1)}, "b": {one("x", "web", 5), one("y", "web", 4)},
			}, asks: "1", node: "b", victims: []string{"y"},
		},
		"counted already": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, app("db"), "db")},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"db"},
		},
		"another namespace's": {
			budgets: []*policyv1.PodDisruptionBudget{elsewhere},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"db"},
		},
		"an empty selector": {
			budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, &metav1.LabelSelector{}), budget("c", 0, nil)},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"db"},
		},
		"two budgets": {
			budgets: []*policyv1.PodDisruptionBudget{budget("a", 5, app("db")), budget("b", 0, app("db"))},
			on:      two(one("db", "db", 1), one("web", "web", 5)), asks: "1", node: "a", victims: []string{"web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSnapshot()
			for node, pods := range tc.on {
				s.SetNode(small(node))
				for _, p := range pods {
					s.SetPod(p, node)
				}
			}
			for _, b := range tc.budgets {
				s.SetBudget(b)
			}
			p := testPod("p", asks("cpu", tc.asks), priority(10))
			got, _ := preempt(t, p, s, Nomination{})
			if diff := cmp.Diff(tc.victims, names(got.Victims)); diff != "" || got.Node != tc.node {
				t.Errorf("node %q (-want +got)\n%s", got.Node, diff)
			}
			for _, b := range tc.budgets {
				s.RemoveBudget(b.Namespace, b.Name)
			}
			if len(s.budgets) != 0 {
				t.Errorf("left: %v", s.budgets)
			}
		})
	}
}

// Whatever runs: victims are of lower priority and on the chosen node, the pod
// fits without them, and with any of them back it does not; and what was tried
// leaves no trace in the snapshot.
func TestPreemptProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSnapshot()
		for i := range rapid.IntRange(1, 3).Draw(t, "nodes") {
			n := testNode(fmt.Sprint("n", i), inZone(fmt.Sprint("z", i%2)))
			n.Status.Allocatable[corev1.ResourceCPU] = *resource.NewQuantity(int64(rapid.IntRange(1, 3).Draw(t, "cpu")), resource.DecimalSI)
			s.SetNode(n)
		}
		draw := func(name string) *corev1.Pod {
			p := testPod(name, asks("cpu", fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "ask"))), priority(int32(rapid.IntRange(-2, 2).Draw(t, "priority"))),
				labelled("app", rapid.SampledFrom([]string{"web", "db"}).Draw(t, "app")))
			if rapid.IntRange(0, 3).Draw(t, "averse") == 0 {
				farFrom("web", rapid.SampledFrom([]string{corev1.LabelHostname, zone}).Draw(t, "key"))(p)
			}
			if rapid.IntRange(0, 3).Draw(t, "spread") == 0 {
				spreadBy(zone, 1, corev1.DoNotSchedule)(p)
			}
			return p
		}
		for i := range rapid.IntRange(0, 8).Draw(t, "pods") {
			if p := draw(fmt.Sprint("q", i)); len(s.known) > 0 {
				s.SetPod(p, rapid.SampledFrom(s.known).Draw(t, "on").name)
			}
		}
		p := draw("p")
		fit := (*FitError)(nil)
		if _, err := Schedule(p, s); !errors.As(err, &fit) {
			return
		}
		got := Preempt(p, s, fit, Nomination{})
		if _, err := Schedule(p, s); fmt.Sprint(err) != fit.Error() {
			t.Fatalf("changed the snapshot: %v, then %v", fit, err)
		}
		if again := Preempt(p, s, fit, Nomination{}); again.Node != got.Node || !cmp.Equal(names(again.Victims), names(got.Victims)) {
			t.Fatalf("%v, then %v", got, again)
		}
		if (got.Node == "") != (len(got.Victims) == 0) || got.Message == "" {
			t.Fatalf("%+v", got)
		}
		if got.Node == "" {
			return
		}
		for _, v := range got.Victims {
			if node, _ := s.RemovePod(v.UID); node != got.Node || priorityOf(v) >= priorityOf(p) {
				t.Fatalf("victim %s of priority %d on %s", v.Name, priorityOf(v), node)
			}
		}
		if !Fits(p, s, got.Node) {
			t.Fatal("does not fit without the victims")
		}
		last := got.Victims[len(got.Victims)-1]
		s.SetPod(last, got.Node)
		if Fits(p, s, got.Node) {
			t.Fatalf("%s need not have left", last.Name)
		}
	})
}
