package scheduler

import (
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// model is a plain account of what runs where, kept beside the snapshot.
type model struct {
	nodes map[string]*corev1.Node
	pods  map[types.UID]*corev1.Pod
	on    map[types.UID]string
}

func drawNode(t *rapid.T) *corev1.Node {
	n := testNode(fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "node")))
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(rapid.IntRange(0, 20).Draw(t, "cpu")*100), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(int64(rapid.IntRange(0, 20).Draw(t, "mem"))<<20, resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(rapid.IntRange(0, 6).Draw(t, "pods")), resource.DecimalSI),
	}
	n.Spec.Unschedulable = rapid.IntRange(0, 9).Draw(t, "cordon") == 0
	if rapid.IntRange(0, 4).Draw(t, "taint") == 0 {
		taint("x", corev1.TaintEffectNoSchedule)(n)
	}
	if rapid.IntRange(0, 9).Draw(t, "ready") == 0 {
		n.Status.Conditions[0].Status = corev1.ConditionUnknown
	}
	n.Labels["zone"] = fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "zone"))
	return n
}

func drawPod(t *rapid.T, number int) *corev1.Pod {
	p := testPod(fmt.Sprintf("p%d", number))
	ask := func(label string) corev1.ResourceList {
		return corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(int64(rapid.IntRange(0, 10).Draw(t, label+"cpu")*100), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(int64(rapid.IntRange(0, 10).Draw(t, label+"mem"))<<20, resource.BinarySI),
		}
	}
	p.Spec.Containers[0].Resources.Requests = ask("")
	if rapid.Bool().Draw(t, "init") {
		p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: ask("init")}}}
	}
	if rapid.IntRange(0, 2).Draw(t, "port") == 0 {
		port(80, rapid.SampledFrom([]string{"", "10.0.0.1", "10.0.0.2"}).Draw(t, "ip"), "")(p)
	}
	if rapid.IntRange(0, 3).Draw(t, "toleration") == 0 {
		tolerates("x", corev1.TolerationOpExists)(p)
	}
	if rapid.IntRange(0, 3).Draw(t, "selector") == 0 {
		selects("zone", "1")(p)
	}
	return p
}

// peak is what a pod needs at most at one time, worked out the long way.
func peak(p *corev1.Pod, name corev1.ResourceName) int64 {
	var sum, most int64
	for _, c := range p.Spec.Containers {
		q := c.Resources.Requests[name]
		sum += q.MilliValue()
	}
	for _, c := range p.Spec.InitContainers {
		q := c.Resources.Requests[name]
		most = max(most, q.MilliValue())
	}
	return max(sum, most)
}

// admits says whether the pod may run on the node beside what does already.
func (m *model) admits(name string, p *corev1.Pod) bool {
	n := m.nodes[name]
	if n.Spec.Unschedulable || n.Status.Conditions[0].Status != corev1.ConditionTrue ||
		len(n.Spec.Taints) > 0 && len(p.Spec.Tolerations) == 0 {
		return false
	}
	if zone := p.Spec.NodeSelector["zone"]; zone != "" && n.Labels["zone"] != zone {
		return false
	}
	count := int64(1)
	used := map[corev1.ResourceName]int64{}
	for uid, on := range m.on {
		if on != name {
			continue
		}
		other := m.pods[uid]
		count++
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			used[r] += peak(other, r)
		}
		for _, a := range other.Spec.Containers[0].Ports {
			for _, b := range p.Spec.Containers[0].Ports {
				if a.HostIP == b.HostIP || a.HostIP == "" || b.HostIP == "" {
					return false
				}
			}
		}
	}
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q := n.Status.Allocatable[r]
		if want := peak(p, r); want > 0 && used[r]+want > q.MilliValue() {
			return false
		}
	}
	return count <= n.Status.Allocatable.Pods().Value()
}

// rebuilt returns a snapshot made from nothing, in whatever order maps have.
func (m *model) rebuilt() *Snapshot {
	s := NewSnapshot()
	for uid, p := range m.pods {
		if node, on := m.on[uid]; on {
			s.SetPod(p, node)
		}
	}
	for _, n := range m.nodes {
		s.SetNode(n)
	}
	return s
}

// Whatever happens to nodes and pods: a chosen node admits the pod, a refusal
// means that none does, and a snapshot that was kept up to date answers as one
// made anew.
func TestScheduleProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{}, on: map[types.UID]string{}}
		s := NewSnapshot()
		number := 0
		t.Repeat(map[string]func(*rapid.T){
			"node": func(t *rapid.T) {
				n := drawNode(t)
				m.nodes[n.Name] = n
				s.SetNode(n)
			},
			"remove node": func(t *rapid.T) {
				name := fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "gone"))
				delete(m.nodes, name)
				s.RemoveNode(name)
			},
			"remove pod": func(t *rapid.T) {
				uid := types.UID(fmt.Sprintf("p%d", rapid.IntRange(0, 20).Draw(t, "gone")))
				node, found := s.RemovePod(uid)
				if want, on := m.on[uid]; on != found || node != want {
					t.Fatalf("removed from %q %v, was on %q %v", node, found, want, on)
				}
				delete(m.on, uid)
				delete(m.pods, uid)
			},
			"schedule": func(t *rapid.T) {
				number++
				scheduleOne(t, m, s, drawPod(t, number))
			},
		})
	})
}

func scheduleOne(t *rapid.T, m *model, s *Snapshot, p *corev1.Pod) {
	res, err := Schedule(p, s)
	again, againErr := Schedule(p, m.rebuilt())
	if res != again || fmt.Sprint(err) != fmt.Sprint(againErr) {
		t.Fatalf("not deterministic: %+v %v, then %+v %v", res, err, again, againErr)
	}
	feasible := 0
	for name := range m.nodes {
		admits := m.admits(name, p)
		if admits {
			feasible++
		}
		if Fits(p, s, name) != admits {
			t.Fatalf("Fits on %s is not %v", name, admits)
		}
	}
	if err != nil {
		if feasible > 0 {
			t.Fatalf("%d nodes would do, but: %v", feasible, err)
		}
		if fit := (*FitError)(nil); len(m.nodes) > 0 && (!errors.As(err, &fit) || fit.Nodes != len(m.nodes)) {
			t.Fatalf("error: %v", err)
		}
		return
	}
	if !m.admits(res.Node, p) || res.Feasible != feasible {
		t.Fatalf("chose %+v of %d feasible", res, feasible)
	}
	s.SetPod(p, res.Node)
	m.pods[p.UID], m.on[p.UID] = p, res.Node
}
