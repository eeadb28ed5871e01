package sandbox

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
)

func TestPortMappings(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Name: "init", Ports: []corev1.ContainerPort{{HostPort: 1, ContainerPort: 1}}},
			{Name: "side", RestartPolicy: &always, Ports: []corev1.ContainerPort{{HostPort: 2, ContainerPort: 20, Protocol: corev1.ProtocolUDP}}},
		},
		Containers: []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{
			{ContainerPort: 80},
			{HostPort: 8080, ContainerPort: 80, HostIP: "127.0.0.1"},
		}}},
	}}
	want := []cni.PortMapping{
		{Protocol: "tcp", HostPort: 8080, HostIP: netip.MustParseAddr("127.0.0.1"), ContainerPort: 80},
		{Protocol: "udp", HostPort: 2, ContainerPort: 20},
	}
	got, err := portMappings(p)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []corev1.ContainerPort{{HostPort: 70000, ContainerPort: 1}, {HostPort: 1}, {HostPort: 1, ContainerPort: 1, HostIP: "x"}} {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{bad}
		if _, err := portMappings(p); !errors.Is(err, pod.ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestBandwidth(t *testing.T) {
	got, err := bandwidth(map[string]string{"kubernetes.io/ingress-bandwidth": "1M", "other": "x"})
	if err != nil || len(got) != 2 || got["ingressRate"] != int64(1_000_000) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := bandwidth(nil); got != nil || err != nil {
		t.Errorf("without annotations: %v, %v", got, err)
	}
	for _, bad := range []string{"", "fast", "-1", "0"} {
		if _, err := bandwidth(map[string]string{"kubernetes.io/egress-bandwidth": bad}); !errors.Is(err, pod.ErrConfig) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
