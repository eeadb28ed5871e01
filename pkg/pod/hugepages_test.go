package pod_test

import (
	"errors"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestHugePages(t *testing.T) {
	p := podtest.NewPod("", "a", "b")
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: quantities("hugepages-2Mi", "4Mi"), Requests: quantities("hugepages-2Mi", "4Mi")}
	check := func(what string, pods, a, b map[int64]int64) {
		t.Helper()
		for i, want := range []map[int64]int64{a, b} {
			if got := pod.ResourcesFor(p, &p.Spec.Containers[i]).HugePages; !reflect.DeepEqual(got, want) {
				t.Errorf("%s: container %d has %v, want %v", what, i, got, want)
			}
		}
		if got := pod.PodResources(p).HugePages; !reflect.DeepEqual(got, pods) {
			t.Errorf("%s: the pod has %v, want %v", what, got, pods)
		}
	}
	const mega, giga = 2 << 20, 1 << 30
	check("of containers", map[int64]int64{mega: 2 * mega}, map[int64]int64{mega: 2 * mega}, nil)
	p.Spec.Resources = &corev1.ResourceRequirements{Limits: quantities("hugepages-2Mi", "8Mi", "hugepages-1Gi", "1Gi"), Requests: quantities("hugepages-2Mi", "8Mi", "hugepages-1Gi", "1Gi")}
	both := map[int64]int64{mega: 4 * mega, giga: giga}
	check("of the pod", both, map[int64]int64{mega: 2 * mega, giga: giga}, both)
	for medium, want := range map[corev1.StorageMedium]int64{"HugePages-2Mi": mega, "HugePages-1Gi": giga, "HugePages": 0, "HugePages-64Ki": 0, "HugePages-x": 0} {
		got, err := pod.HugePageVolume(p, medium)
		if got != want || (want == 0) != errors.Is(err, pod.ErrConfig) {
			t.Errorf("%s: %d, %v", medium, got, err)
		}
	}
	p.Spec.Resources = nil
	if got, err := pod.HugePageVolume(p, "HugePages"); got != mega || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	for size, want := range map[int64]string{mega: "2MB", giga: "1GB", 64 << 10: "64KB", 32 << 20: "32MB", 512: "512B"} {
		if got := pod.HugePageName(size); got != want {
			t.Errorf("%d: %s, want %s", size, got, want)
		}
	}
	for resource, want := range map[string]string{"limits.hugepages-2Mi": "4", "requests.hugepages-2Mi": "4", "limits.hugepages-1Gi": "0"} {
		got, err := pod.ResourceText(p, &corev1.ResourceFieldSelector{ContainerName: "a", Resource: resource, Divisor: quantities("x", "1Mi")["x"]}, quantities("hugepages-1Gi", "1Gi"))
		if got != want || err != nil {
			t.Errorf("%s: %s, %v", resource, got, err)
		}
	}
}
