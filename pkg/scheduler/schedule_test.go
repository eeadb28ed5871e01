package scheduler

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type nodeOption func(*corev1.Node)

// testNode has 4 CPUs, 8 GiB, room for 10 pods, and is ready.
func testNode(name string, opts ...nodeOption) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Allocatable: list("cpu", "4", "memory", "8Gi", "pods", "10", "ephemeral-storage", "20Gi"),
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, o := range opts {
		o(n)
	}
	return n
}

func taint(key string, effect corev1.TaintEffect) nodeOption {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

func ready(s corev1.ConditionStatus) nodeOption {
	return func(n *corev1.Node) { n.Status.Conditions[0].Status = s }
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

type podOption func(*corev1.Pod)

func testPod(name string, opts ...podOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
	}
	for _, o := range opts {
		o(p)
	}
	return p
}

func asks(pairs ...string) podOption {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = list(pairs...) }
}

func initAsks(pairs ...string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
			Name: fmt.Sprintf("i%d", len(p.Spec.InitContainers)), Resources: corev1.ResourceRequirements{Requests: list(pairs...)},
		})
	}
}

func port(number int32, ip string, protocol corev1.Protocol) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: number, HostIP: ip, Protocol: protocol})
	}
}

func tolerates(key string, op corev1.TolerationOperator) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: key, Operator: op})
	}
}

func selects(key, value string) podOption {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func snapshotOf(nodes ...*corev1.Node) *Snapshot {
	s := NewSnapshot()
	for _, n := range nodes {
		s.SetNode(n)
	}
	return s
}

func TestScheduleFilters(t *testing.T) {
	for name, tc := range map[string]struct {
		node *corev1.Node
		on   []*corev1.Pod
		pod  *corev1.Pod
		want string // empty: fits
	}{
		"empty node":          {node: testNode("a"), pod: testPod("p")},
		"not ready":           {node: testNode("a", ready(corev1.ConditionFalse)), pod: testPod("p"), want: "1 node(s) were not ready."},
		"unreachable":         {node: testNode("a", ready(corev1.ConditionUnknown)), pod: testPod("p"), want: "1 node(s) were not ready."},
		"not ready tolerated": {node: testNode("a", ready(corev1.ConditionFalse)), pod: testPod("p", tolerates(corev1.TaintNodeNotReady, corev1.TolerationOpExists))},
		"no Ready condition":  {node: testNode("a", func(n *corev1.Node) { n.Status.Conditions = nil }), pod: testPod("p"), want: "1 node(s) were not ready."},
		"cordoned":            {node: testNode("a", cordoned), pod: testPod("p"), want: "1 node(s) were unschedulable."},
		"cordoned tolerated":  {node: testNode("a", cordoned), pod: testPod("p", tolerates(corev1.TaintNodeUnschedulable, corev1.TolerationOpExists))},
		"taint":               {node: testNode("a", taint("x", corev1.TaintEffectNoSchedule)), pod: testPod("p"), want: "1 node(s) had untolerated taint(s)."},
		"taint NoExecute":     {node: testNode("a", taint("x", corev1.TaintEffectNoExecute)), pod: testPod("p"), want: "1 node(s) had untolerated taint(s)."},
		"taint soft":          {node: testNode("a", taint("x", corev1.TaintEffectPreferNoSchedule)), pod: testPod("p")},
		"taint tolerated":     {node: testNode("a", taint("x", corev1.TaintEffectNoSchedule)), pod: testPod("p", tolerates("x", corev1.TolerationOpExists))},
		"everything tolerated": {
			node: testNode("a", taint("x", corev1.TaintEffectNoSchedule), taint("y", corev1.TaintEffectNoExecute)),
			pod:  testPod("p", tolerates("", corev1.TolerationOpExists)),
		},
		"selector":         {node: testNode("a"), pod: testPod("p", selects(corev1.LabelHostname, "b")), want: "1 node(s) didn't match Pod's node affinity/selector."},
		"selector matches": {node: testNode("a"), pod: testPod("p", selects(corev1.LabelHostname, "a"))},
		"cpu":              {node: testNode("a"), on: []*corev1.Pod{testPod("q", asks("cpu", "3500m"))}, pod: testPod("p", asks("cpu", "501m")), want: "1 Insufficient cpu."},
		"cpu to the brim":  {node: testNode("a"), on: []*corev1.Pod{testPod("q", asks("cpu", "3500m"))}, pod: testPod("p", asks("cpu", "500m"))},
		"several resources": {
			node: testNode("a"), pod: testPod("p", asks("cpu", "5", "memory", "9Gi", "ephemeral-storage", "30Gi", "example.com/gpu", "1")),
			want: "1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient example.com/gpu, 1 Insufficient memory.",
		},
		"nothing asked of a full node": {node: testNode("a"), on: []*corev1.Pod{testPod("q", asks("cpu", "4", "memory", "8Gi"))}, pod: testPod("p")},
		"init container decides":       {node: testNode("a"), pod: testPod("p", asks("cpu", "1"), initAsks("cpu", "5")), want: "1 Insufficient cpu."},
		"init container does not add":  {node: testNode("a"), pod: testPod("p", asks("cpu", "3"), initAsks("cpu", "2"), initAsks("cpu", "4"))},
		"pods": {
			node: testNode("a", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1") }),
			on:   []*corev1.Pod{testPod("q")}, pod: testPod("p"), want: "1 Too many pods.",
		},
		"port":                       {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "", ""))}, pod: testPod("p", port(80, "", corev1.ProtocolTCP)), want: "1 node(s) didn't have free ports for the requested pod ports."},
		"port of another protocol":   {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "", corev1.ProtocolUDP))}, pod: testPod("p", port(80, "", corev1.ProtocolTCP))},
		"port of another address":    {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "127.0.0.1", ""))}, pod: testPod("p", port(80, "127.0.0.2", ""))},
		"port of the same address":   {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "127.0.0.1", ""))}, pod: testPod("p", port(80, "127.0.0.1", "")), want: "1 node(s) didn't have free ports for the requested pod ports."},
		"port of all then of one":    {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "0.0.0.0", ""))}, pod: testPod("p", port(80, "127.0.0.1", "")), want: "1 node(s) didn't have free ports for the requested pod ports."},
		"port of one then of all":    {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(80, "127.0.0.1", ""))}, pod: testPod("p", port(80, "::", "")), want: "1 node(s) didn't have free ports for the requested pod ports."},
		"container port takes none":  {node: testNode("a"), on: []*corev1.Pod{testPod("q", port(0, "", ""))}, pod: testPod("p", port(0, "", ""))},
		"first failing check counts": {node: testNode("a", cordoned, taint("x", corev1.TaintEffectNoSchedule)), pod: testPod("p", asks("cpu", "9")), want: "1 node(s) were unschedulable."},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshotOf(tc.node)
			for _, p := range tc.on {
				s.SetPod(p, tc.node.Name)
			}
			res, err := Schedule(tc.pod, s)
			if fits := Fits(tc.pod, s, tc.node.Name); fits != (err == nil) {
				t.Errorf("Fits = %v, Schedule: %v", fits, err)
			}
			if tc.want == "" {
				if err != nil || res.Node != tc.node.Name {
					t.Fatalf("got %+v, %v", res, err)
				}
				return
			}
			if fit := (*FitError)(nil); !errors.As(err, &fit) {
				t.Fatalf("got %+v, %v, want a FitError", res, err)
			}
			if want := "0/1 nodes are available: " + tc.want; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestFitErrorMessage(t *testing.T) {
	s := snapshotOf(
		testNode("a", taint("x", corev1.TaintEffectNoSchedule)), testNode("b", taint("y", corev1.TaintEffectNoSchedule)), testNode("c"),
	)
	_, err := Schedule(testPod("p", asks("cpu", "100")), s)
	const want = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s)."
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := Schedule(testPod("p"), NewSnapshot()); !errors.Is(err, ErrNoNodes) {
		t.Errorf("without nodes: %v", err)
	}
}

func TestScheduleRejectsBadAffinity(t *testing.T) {
	p := testPod("p", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "x", Operator: "No such"}},
			}}},
		}}
	})
	_, err := Schedule(p, snapshotOf(testNode("a")))
	if fit := (*FitError)(nil); err == nil || errors.As(err, &fit) {
		t.Errorf("got %v", err)
	}
}

func TestScheduleScores(t *testing.T) {
	big := func(n *corev1.Node) { n.Status.Allocatable = list("cpu", "8", "memory", "16Gi", "pods", "10") }
	for name, tc := range map[string]struct {
		nodes []*corev1.Node
		on    map[string][]*corev1.Pod
		pod   *corev1.Pod
		want  string
	}{
		"the name decides between equals":  {nodes: []*corev1.Node{testNode("c"), testNode("a"), testNode("b")}, pod: testPod("p"), want: "a"},
		"pods without requests spread":     {nodes: []*corev1.Node{testNode("a"), testNode("b")}, on: map[string][]*corev1.Pod{"a": {testPod("q")}}, pod: testPod("p"), want: "b"},
		"the emptier node":                 {nodes: []*corev1.Node{testNode("a"), testNode("b", big)}, pod: testPod("p", asks("cpu", "2", "memory", "4Gi")), want: "b"},
		"balance between CPU and memory":   {nodes: []*corev1.Node{testNode("a"), testNode("b")}, on: map[string][]*corev1.Pod{"a": {testPod("q", asks("cpu", "2", "memory", "100Mi"))}, "b": {testPod("r", asks("cpu", "100m", "memory", "4Gi"))}}, pod: testPod("p", asks("cpu", "100m", "memory", "3Gi")), want: "a"},
		"a soft taint outweighs the score": {nodes: []*corev1.Node{testNode("a", taint("x", corev1.TaintEffectPreferNoSchedule)), testNode("b")}, on: map[string][]*corev1.Pod{"b": {testPod("q", asks("cpu", "3"))}}, pod: testPod("p"), want: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			s := snapshotOf(tc.nodes...)
			for node, pods := range tc.on {
				for _, p := range pods {
					s.SetPod(p, node)
				}
			}
			res, err := Schedule(tc.pod, s)
			if err != nil || res.Node != tc.want || res.Feasible != len(tc.nodes) {
				t.Errorf("got %+v, %v, want %s", res, err, tc.want)
			}
		})
	}
}

func TestSetNodeTellsRelevantChanges(t *testing.T) {
	s := snapshotOf(testNode("a"))
	beat := testNode("a")
	beat.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
	beat.ResourceVersion = "2"
	if s.SetNode(beat) {
		t.Error("a heartbeat counts as a change")
	}
	for name, n := range map[string]*corev1.Node{
		"cordon": testNode("a", cordoned),
		"taint":  testNode("a", taint("x", corev1.TaintEffectNoSchedule)),
		"ready":  testNode("a", ready(corev1.ConditionUnknown)),
		"label":  testNode("a", func(n *corev1.Node) { n.Labels["x"] = "y" }),
		"amount": testNode("a", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("5") }),
	} {
		if !s.SetNode(n) {
			t.Errorf("%s: not told", name)
		}
		s.SetNode(testNode("a"))
	}
}

func BenchmarkSchedule(b *testing.B) {
	for _, nodes := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%dnodes", nodes), func(b *testing.B) {
			s := NewSnapshot()
			for i := range nodes {
				name := fmt.Sprintf("node-%04d", i)
				s.SetNode(testNode(name, taint("x", corev1.TaintEffectPreferNoSchedule)))
				for j := range 5 {
					s.SetPod(testPod(fmt.Sprintf("%s-%d", name, j), asks("cpu", "100m", "memory", "128Mi"), port(int32(8000+j), "", "")), name)
				}
			}
			p := testPod("p", asks("cpu", "200m", "memory", "256Mi"), port(80, "", ""))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Schedule(p, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
