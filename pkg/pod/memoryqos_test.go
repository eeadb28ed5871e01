package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/carob-project/carob/pkg/pod"
)

// asking is what requests and limits so much memory; an empty text says nothing.
func asking(request, limit string) corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	if request != "" {
		r.Requests[corev1.ResourceMemory] = resource.MustParse(request)
	}
	if limit != "" {
		r.Limits[corev1.ResourceMemory] = resource.MustParse(limit)
	}
	return r
}

func podOf(whole *corev1.ResourceRequirements, containers ...corev1.ResourceRequirements) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Resources: whole}}
	for _, r := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Resources: r})
	}
	return p
}

// guaranteed has its limits of memory and CPU as requests too.
func guaranteed(memory string) corev1.ResourceRequirements {
	r := asking(memory, memory)
	r.Requests[corev1.ResourceCPU], r.Limits[corev1.ResourceCPU] = resource.MustParse("1"), resource.MustParse("1")
	return r
}

func TestMemoryQoS(t *testing.T) {
	const mi, gone = 1 << 20, pod.Unlimited
	type memory struct{ high, low, min int64 }
	both := pod.MemoryQoS{ThrottlingFactor: 0.9, Reserve: true}
	whole := asking("100Mi", "200Mi")
	for name, tc := range map[string]struct {
		qos            pod.MemoryQoS
		pod            *corev1.Pod
		container, all memory
	}{
		"off":              {pod.MemoryQoS{}, podOf(nil, asking("10Mi", "20Mi")), memory{}, memory{}},
		"throttled":        {pod.MemoryQoS{ThrottlingFactor: 0.9}, podOf(nil, asking("10Mi", "20Mi")), memory{high: 19 * mi}, memory{high: gone}},
		"reserved":         {pod.MemoryQoS{Reserve: true}, podOf(nil, asking("10Mi", "20Mi")), memory{low: 10 * mi, min: gone}, memory{low: 10 * mi, min: gone}},
		"both":             {both, podOf(nil, asking("10Mi", "20Mi")), memory{19 * mi, 10 * mi, gone}, memory{gone, 10 * mi, gone}},
		"whole pages":      {pod.MemoryQoS{ThrottlingFactor: 0.5}, podOf(nil, asking("0", "10007")), memory{high: 4096}, memory{high: gone}},
		"less than a page": {pod.MemoryQoS{ThrottlingFactor: 0.5}, podOf(nil, asking("4000", "8100")), memory{high: 4096}, memory{high: gone}},
		"no room for one":  {pod.MemoryQoS{ThrottlingFactor: 0.1}, podOf(nil, asking("4097", "8100")), memory{high: gone}, memory{high: gone}},
		"the whole way":    {pod.MemoryQoS{ThrottlingFactor: 1}, podOf(nil, asking("10Mi", "20Mi")), memory{high: 20 * mi}, memory{high: gone}},
		"guaranteed":       {both, podOf(nil, guaranteed("10Mi")), memory{gone, gone, 10 * mi}, memory{gone, gone, 10 * mi}},
		"all of the limit": {both, podOf(nil, asking("10Mi", "10Mi")), memory{gone, 10 * mi, gone}, memory{gone, 10 * mi, gone}},
		// The node has 1000Mi for pods.
		"no limit":                    {both, podOf(nil, asking("100Mi", "")), memory{910 * mi, 100 * mi, gone}, memory{gone, 100 * mi, gone}},
		"best effort":                 {both, podOf(nil, asking("", "")), memory{900 * mi, gone, gone}, memory{gone, gone, gone}},
		"two containers":              {both, podOf(nil, asking("10Mi", "20Mi"), asking("30Mi", "60Mi")), memory{19 * mi, 10 * mi, gone}, memory{gone, 40 * mi, gone}},
		"a limit of the pod":          {both, podOf(&whole, asking("10Mi", "")), memory{gone, 10 * mi, gone}, memory{190 * mi, 100 * mi, gone}},
		"a limit of both":             {both, podOf(&whole, asking("10Mi", "20Mi")), memory{19 * mi, 10 * mi, gone}, memory{190 * mi, 100 * mi, gone}},
		"the pod's request is all":    {both, podOf(new(asking("200Mi", "200Mi")), asking("", "")), memory{gone, gone, gone}, memory{gone, 200 * mi, gone}},
		"only a request, of the pod":  {both, podOf(new(asking("100Mi", "")), asking("10Mi", "")), memory{901 * mi, 10 * mi, gone}, memory{gone, 100 * mi, gone}},
		"a request and limited parts": {both, podOf(new(asking("20Mi", "")), asking("10Mi", "40Mi")), memory{37 * mi, 10 * mi, gone}, memory{38 * mi, 20 * mi, gone}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &tc.pod.Spec.Containers[0]
			r := tc.qos.Container(pod.ResourcesFor(tc.pod, c), tc.pod, c, 1000*mi)
			if got := (memory{r.MemoryHigh, r.MemoryLow, r.MemoryMin}); got != tc.container {
				t.Errorf("container: %+v, want %+v", got, tc.container)
			}
			r = tc.qos.Pod(pod.PodResources(tc.pod), tc.pod)
			if got := (memory{r.MemoryHigh, r.MemoryLow, r.MemoryMin}); got != tc.all {
				t.Errorf("pod: %+v, want %+v", got, tc.all)
			}
		})
	}
	p := podOf(nil, asking("10Mi", ""))
	if r := both.Container(pod.Resources{}, p, &p.Spec.Containers[0], 0); r.MemoryHigh != gone {
		t.Errorf("of a node that is not known: %d", r.MemoryHigh)
	}
}

func TestLiftedTakesMemoryQoSAway(t *testing.T) {
	r := pod.Lifted(pod.Resources{MemoryLow: 7})
	if r.MemoryHigh != pod.Unlimited || r.MemoryMin != pod.Unlimited || r.MemoryLow != 7 {
		t.Errorf("%+v", r)
	}
}
