package pod_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestResourcesOfThePodItself(t *testing.T) {
	type want struct {
		qos      corev1.PodQOSClass
		pod      pod.Resources
		a, b     pod.Resources
		scoreOfB int
	}
	full := pod.Resources{CPUShares: 1024, CPUQuota: 100000, CPUPeriod: 100000, MemoryLimit: 128 << 20}
	for _, tc := range []struct {
		name             string
		requests, limits corev1.ResourceList
		want             want
	}{
		{"equal", quantities("cpu", "1", "memory", "128Mi"), quantities("cpu", "1", "memory", "128Mi"), want{
			corev1.PodQOSGuaranteed, full,
			pod.Resources{CPUShares: 256, CPUQuota: 50000, CPUPeriod: 100000, MemoryLimit: 128 << 20}, full, -997,
		}},
		{"requests alone", quantities("memory", "512Mi"), nil, want{
			corev1.PodQOSBurstable, pod.Resources{CPUShares: 256},
			pod.Resources{CPUShares: 256, CPUQuota: 50000, CPUPeriod: 100000}, pod.Resources{CPUShares: 2}, 750,
		}},
		{"memory alone", quantities("memory", "64Mi"), quantities("memory", "128Mi"), want{
			corev1.PodQOSBurstable, pod.Resources{CPUShares: 256, MemoryLimit: 128 << 20},
			pod.Resources{CPUShares: 256, CPUQuota: 50000, CPUPeriod: 100000, MemoryLimit: 128 << 20},
			pod.Resources{CPUShares: 2, MemoryLimit: 128 << 20}, 969,
		}},
	} {
		p := podtest.NewPod("", "a", "b")
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
			Requests: quantities("cpu", "250m"), Limits: quantities("cpu", "500m"),
		}
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: tc.requests, Limits: tc.limits}
		a, b := &p.Spec.Containers[0], &p.Spec.Containers[1]
		got := want{
			pod.QOSClass(p), pod.PodResources(p), pod.ResourcesFor(p, a), pod.ResourcesFor(p, b),
			pod.OOMScoreAdj(p, b, 1<<30),
		}
		if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

func TestASidecarScoresNoHigherThanItsPod(t *testing.T) {
	p := podtest.NewPod("", "a")
	p.Spec.Containers[0].Resources.Requests = quantities("memory", "512Mi")
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: &always}}
	if got := pod.OOMScoreAdj(p, &p.Spec.InitContainers[0], 1<<30); got != 500 {
		t.Errorf("score %d, want that of the app container, 500", got)
	}
}

func TestAnUnsetLimitIsThePods(t *testing.T) {
	p := podtest.NewPod("", "a")
	p.Spec.Resources = &corev1.ResourceRequirements{Limits: quantities("memory", "64Mi")}
	ref := &corev1.ResourceFieldSelector{ContainerName: "a", Resource: "limits.memory"}
	got, err := pod.ResourceText(p, ref, quantities("memory", "1Gi"))
	if err != nil || got != "67108864" {
		t.Errorf("%s, %v", got, err)
	}
}
