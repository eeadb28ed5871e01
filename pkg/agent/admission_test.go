package agent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func podWith(name, cpu string, ports ...corev1.ContainerPort) *corev1.Pod {
	c := corev1.Container{Name: "app", Image: "img", Ports: ports}
	if cpu != "" {
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{c}},
	}
}

func port(n int32, ip string, proto corev1.Protocol) corev1.ContainerPort {
	return corev1.ContainerPort{HostPort: n, ContainerPort: 80, HostIP: ip, Protocol: proto}
}

func TestAdmit(t *testing.T) {
	node := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi"),
		corev1.ResourcePods: resource.MustParse("3"),
	}
	labelled := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"zone": "x", corev1.LabelOSStable: "linux"}}}
	choosy := func(key, value string) *corev1.Pod {
		p := podWith("a", "")
		p.Spec.NodeSelector = map[string]string{key: value}
		return p
	}
	named := func(name string) *corev1.Pod {
		p := podWith("a", "")
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
			}}},
		}}}
		return p
	}
	const notHere = "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	tolerant := func(t corev1.Toleration) *corev1.Pod {
		p := podWith("a", "")
		p.Spec.Tolerations = []corev1.Toleration{t}
		return p
	}
	out := corev1.Taint{Key: "out", Value: "1", Effect: corev1.TaintEffectNoExecute}
	const expelled = "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
	tests := []struct {
		name     string
		taints   []corev1.Taint
		pod      *corev1.Pod
		admitted []*corev1.Pod
		node     corev1.ResourceList
		reason   string
		message  string
	}{
		{name: "a taint that ends pods", pod: podWith("a", ""), node: node, taints: []corev1.Taint{out}, reason: "TaintToleration", message: expelled},
		{name: "one that it tolerates", pod: tolerant(corev1.Toleration{Key: "out", Operator: corev1.TolerationOpExists}), node: node, taints: []corev1.Taint{out}},
		{name: "another value", pod: tolerant(corev1.Toleration{Key: "out", Value: "2"}), node: node, taints: []corev1.Taint{out}, reason: "TaintToleration"},
		{name: "another effect", pod: tolerant(corev1.Toleration{Key: "out", Value: "1", Effect: corev1.TaintEffectNoSchedule}), node: node, taints: []corev1.Taint{out}, reason: "TaintToleration"},
		{name: "for a while", pod: tolerant(corev1.Toleration{Key: "out", Value: "1", TolerationSeconds: ptr.To[int64](5)}), node: node, taints: []corev1.Taint{out}},
		{name: "a taint for the scheduler", pod: podWith("a", ""), node: node, taints: []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectNoSchedule}}},
		{name: "fits", pod: podWith("a", "2"), node: node},
		{name: "no cpu left", pod: podWith("a", "600m"), admitted: []*corev1.Pod{podWith("b", "1500m")}, node: node,
			reason:  "OutOfcpu",
			message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"},
		{name: "too many pods", pod: podWith("a", ""), node: node,
			admitted: []*corev1.Pod{podWith("b", ""), podWith("c", ""), podWith("d", "")}, reason: "OutOfpods"},
		{name: "full, but asks for nothing", pod: podWith("a", ""), admitted: []*corev1.Pod{podWith("b", "4")}, node: node},
		{name: "machine unread", pod: podWith("a", "64")},
		{name: "its zone", pod: choosy("zone", "x"), node: node},
		{name: "another zone", pod: choosy("zone", "y"), node: node, reason: "NodeAffinity", message: notHere},
		{name: "its name", pod: named("n"), node: node},
		{name: "another name", pod: named("m"), node: node, reason: "NodeAffinity", message: notHere},
		{name: "another system", pod: choosy(corev1.LabelOSStable, "windows"), node: node, reason: "PodOSSelectorNodeLabelDoesNotMatch",
			message: "Pod was rejected: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
		{name: "same port", pod: podWith("a", "", port(80, "", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "", ""))}, reason: "NodePorts",
			message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		{name: "other protocol", pod: podWith("a", "", port(80, "", "UDP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "", "TCP"))}},
		{name: "other address", pod: podWith("a", "", port(80, "127.0.0.1", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "127.0.0.2", "TCP"))}},
		{name: "all addresses", pod: podWith("a", "", port(80, "127.0.0.1", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "0.0.0.0", "TCP"))}, reason: "NodePorts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tainted := labelled.DeepCopy()
			tainted.Spec.Taints = tt.taints
			ev := Admit(tt.pod, tt.admitted, tainted, tt.node)
			switch {
			case tt.reason == "" && ev != nil:
				t.Errorf("rejected: %+v", *ev)
			case tt.reason != "" && ev == nil:
				t.Errorf("admitted, want %s", tt.reason)
			case ev != nil && (ev.Reason != tt.reason || tt.message != "" && ev.Message != tt.message):
				t.Errorf("got %+v, want %s: %s", *ev, tt.reason, tt.message)
			}
		})
	}
}

func TestAdmissionOrder(t *testing.T) {
	at := func(name string, minute int) *corev1.Pod {
		p := podWith(name, "")
		p.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC))
		return p
	}
	pods := []*corev1.Pod{at("young", 9), at("old", 1), at("here", 5)}
	admissionOrder(pods, func(p *corev1.Pod) bool { return p.Name == "here" })
	for i, want := range []string{"here", "old", "young"} {
		if pods[i].Name != want {
			t.Errorf("place %d: %s, want %s", i, pods[i].Name, want)
		}
	}
}
