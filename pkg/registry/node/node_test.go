package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestValidateSpec(t *testing.T) {
	taint := corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoSchedule}
	for name, c := range map[string]struct {
		spec corev1.NodeSpec
		want []string
	}{
		"good":            {corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24", "fd00::/64"}, Taints: []corev1.Taint{taint}}, nil},
		"taint twice":     {corev1.NodeSpec{Taints: []corev1.Taint{taint, taint}}, []string{"metadata.taints[1]"}},
		"no effect":       {corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a"}}}, []string{"metadata.taints[0].effect"}},
		"unknown effect":  {corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a", Effect: "x"}}}, []string{"metadata.taints[0].effect"}},
		"key":             {corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a b", Effect: taint.Effect}}}, []string{"metadata.taints[0].key"}},
		"CIDR":            {corev1.NodeSpec{PodCIDRs: []string{"x"}}, []string{"spec.podCIDRs[0]"}},
		"two of a family": {corev1.NodeSpec{PodCIDRs: []string{"10.0.0.0/24", "10.1.0.0/24"}}, []string{"spec.podCIDRs"}},
	} {
		var got []string
		for _, e := range validateSpec(&c.spec) {
			got = append(got, e.Field)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestRow(t *testing.T) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{
			"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge",
		}},
		Spec: corev1.NodeSpec{Unschedulable: true},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "h"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1", OSImage: "os", KernelVersion: "6", ContainerRuntimeVersion: "containerd://2"},
		},
	}
	want := []any{"n", "Ready,SchedulingDisabled", "control-plane,edge,worker", "<unknown>", "v1", "192.0.2.1", "<none>", "os", "6", "containerd://2"}
	if d := cmp.Diff(want, row(n)); d != "" {
		t.Error(d)
	}
	if got := row(&corev1.Node{})[1:3]; !cmp.Equal(got, []any{"Unknown", "<none>"}) {
		t.Errorf("an empty node: %v", got)
	}
	n.Status.Conditions[0].Status = corev1.ConditionUnknown
	if got := status(n); got != "NotReady,SchedulingDisabled" {
		t.Error(got)
	}
}
