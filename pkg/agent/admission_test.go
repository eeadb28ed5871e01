package agent

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	tests := []struct {
		name     string
		pod      *corev1.Pod
		admitted []*corev1.Pod
		node     corev1.ResourceList
		reason   string
		message  string
	}{
		{name: "fits", pod: podWith("a", "2"), node: node},
		{name: "no cpu left", pod: podWith("a", "600m"), admitted: []*corev1.Pod{podWith("b", "1500m")}, node: node,
			reason:  "OutOfcpu",
			message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000"},
		{name: "too many pods", pod: podWith("a", ""), node: node,
			admitted: []*corev1.Pod{podWith("b", ""), podWith("c", ""), podWith("d", "")}, reason: "OutOfpods"},
		{name: "full, but asks for nothing", pod: podWith("a", ""), admitted: []*corev1.Pod{podWith("b", "4")}, node: node},
		{name: "machine unread", pod: podWith("a", "64")},
		{name: "same port", pod: podWith("a", "", port(80, "", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "", ""))}, reason: "NodePorts",
			message: "Pod was rejected: host port 80/TCP is used by pod default/b"},
		{name: "other protocol", pod: podWith("a", "", port(80, "", "UDP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "", "TCP"))}},
		{name: "other address", pod: podWith("a", "", port(80, "127.0.0.1", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "127.0.0.2", "TCP"))}},
		{name: "all addresses", pod: podWith("a", "", port(80, "127.0.0.1", "TCP")), node: node,
			admitted: []*corev1.Pod{podWith("b", "", port(80, "0.0.0.0", "TCP"))}, reason: "NodePorts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := Admit(tt.pod, tt.admitted, tt.node)
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
