package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func amountList(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

func asking(requests corev1.ResourceList) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: requests}}
}

// TestDemand counts what a pod takes: of the containers, of the init containers
// that run before or beside them, of the pod as a whole, and of its runtime.
func TestDemand(t *testing.T) {
	sidecar := asking(amountList("300m", "30Mi"))
	sidecar.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	for _, tc := range []struct {
		name       string
		spec       corev1.PodSpec
		cpu, bytes int64
		// weighs are what nodes are compared by.
		weighsCPU, weighsBytes int64
	}{
		{
			"containers add up",
			corev1.PodSpec{Containers: []corev1.Container{asking(amountList("100m", "10Mi")), asking(amountList("200m", "20Mi"))}},
			300, 30 << 20, 300, 30 << 20,
		},
		{
			"an init container runs alone",
			corev1.PodSpec{InitContainers: []corev1.Container{asking(amountList("1", "5Mi"))}, Containers: []corev1.Container{asking(amountList("100m", "10Mi"))}},
			1000, 10 << 20, 1000, 10 << 20,
		},
		{
			"a sidecar runs beside",
			corev1.PodSpec{InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{asking(amountList("100m", "10Mi"))}},
			400, 40 << 20, 400, 40 << 20,
		},
		{
			"who asks for nothing weighs something",
			corev1.PodSpec{Containers: []corev1.Container{{}}},
			0, 0, assumedMilliCPU, assumedMemory,
		},
		{
			"the pod's word counts instead",
			corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: amountList("2", "64Mi")},
				Containers: []corev1.Container{asking(amountList("100m", "10Mi")), {}},
			},
			2000, 64 << 20, 2000, 64 << 20,
		},
		{
			"where the pod says nothing its containers do",
			corev1.PodSpec{
				Resources:  &corev1.ResourceRequirements{Requests: amountList("2", "")},
				Containers: []corev1.Container{asking(amountList("100m", "10Mi"))},
			},
			2000, 10 << 20, 2000, 10 << 20,
		},
		{
			"the runtime has its share",
			corev1.PodSpec{
				Overhead:   amountList("50m", "5Mi"),
				Resources:  &corev1.ResourceRequirements{Requests: amountList("1", "64Mi")},
				Containers: []corev1.Container{asking(amountList("100m", "10Mi"))},
			},
			1050, 69 << 20, 1050, 69 << 20,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := demandOf(&corev1.Pod{Spec: tc.spec})
			if d.requests.milliCPU != tc.cpu || d.requests.memory != tc.bytes {
				t.Errorf("requests %+v, want %d and %d", d.requests, tc.cpu, tc.bytes)
			}
			if d.weightCPU != tc.weighsCPU || d.weightMemory != tc.weighsBytes {
				t.Errorf("weighs %d and %d, want %d and %d", d.weightCPU, d.weightMemory, tc.weighsCPU, tc.weighsBytes)
			}
		})
	}
}

func TestAmountsAddUpAndGoAgain(t *testing.T) {
	a := amountsOf(corev1.ResourceList{
		"example.test/gpu": resource.MustParse("2"), corev1.ResourceCPU: resource.MustParse("1500m"),
		corev1.ResourcePods: resource.MustParse("7"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ki"),
	})
	if a.milliCPU != 1500 || a.storage != 1024 || len(a.other) != 1 || a.other["example.test/gpu"] != 2 {
		t.Errorf("amounts %+v", a)
	}
	var sum amounts
	sum.add(a, 1)
	sum.add(a, 1)
	sum.add(a, -1)
	if sum.milliCPU != 1500 || sum.other["example.test/gpu"] != 2 {
		t.Errorf("sum %+v", sum)
	}
	sum.add(a, -1)
	if sum.milliCPU != 0 || len(sum.other) != 0 {
		t.Errorf("what is left of nothing: %+v", sum)
	}
}
