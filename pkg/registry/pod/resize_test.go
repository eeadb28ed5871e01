package pod

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const sizedPod = `spec:
  initContainers:
  - {name: i, image: x, resources: {requests: {cpu: 10m}}}
  - {name: s, image: x, restartPolicy: Always, resources: {requests: {cpu: 10m}}}
  containers:
  - {name: a, image: x, resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}}
  - {name: b, image: x}`

func TestValidateResize(t *testing.T) {
	set := func(l corev1.ResourceList, name, q string) { l[corev1.ResourceName(name)] = resource.MustParse(q) }
	for name, tc := range map[string]struct {
		old    func(*corev1.Pod)
		change func(*corev1.Pod)
		want   []string
		more   bool // the generation changes
	}{
		"nothing": {change: func(*corev1.Pod) {}},
		"more and less": {more: true, change: func(p *corev1.Pod) {
			set(p.Spec.Containers[0].Resources.Limits, "memory", "128Mi")
			set(p.Spec.Containers[0].Resources.Requests, "cpu", "50m")
			p.Spec.Containers[1].Resources.Requests = corev1.ResourceList{}
			set(p.Spec.Containers[1].Resources.Requests, "memory", "1Mi")
			set(p.Spec.InitContainers[0].Resources.Requests, "cpu", "20m")
			set(p.Spec.InitContainers[1].Resources.Requests, "cpu", "20m")
		}},
		"other fields": {change: func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Hostname, p.Labels = "y", "h", map[string]string{"a": "b"}
			p.Status.Phase = corev1.PodFailed
		}},
		"static": {
			old:    func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
			change: func(*corev1.Pod) {}, want: []string{`[]: Forbidden: static pods cannot be resized`},
		},
		"class": {more: true, change: func(p *corev1.Pod) {
			for i := range p.Spec.Containers {
				p.Spec.Containers[i].Resources.Limits = corev1.ResourceList{}
				set(p.Spec.Containers[i].Resources.Limits, "cpu", "1")
				set(p.Spec.Containers[i].Resources.Limits, "memory", "1Gi")
				p.Spec.Containers[i].Resources.Requests = p.Spec.Containers[i].Resources.Limits.DeepCopy()
			}
			for i := range p.Spec.InitContainers {
				p.Spec.InitContainers[i].Resources = *p.Spec.Containers[0].Resources.DeepCopy()
			}
		}, want: []string{`spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`}},
		"removed": {more: true, change: func(p *corev1.Pod) {
			delete(p.Spec.Containers[0].Resources.Limits, "memory")
			delete(p.Spec.InitContainers[1].Resources.Requests, "cpu")
		}, want: []string{
			"spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
			"spec.initContainers[1].resources.requests: Forbidden: resource requests cannot be removed",
		}},
		"policy": {more: true, change: func(p *corev1.Pod) {
			p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "cpu", RestartPolicy: "NotRequired"}}
			p.Spec.InitContainers[1].ResizePolicy = p.Spec.Containers[0].ResizePolicy
		}, want: []string{
			"spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
			"spec: Forbidden: only cpu and memory resources are mutable",
		}},
		"added": {change: func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, p.Spec.Containers[1])
			p.Spec.Containers[2].Name = "c"
		}, more: true, want: []string{"spec.containers: Forbidden: containers may not be added or removed on resize"}},
		"reordered": {change: func(p *corev1.Pod) { slices.Reverse(p.Spec.Containers) }, more: true, want: []string{
			"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
			"spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
		}},
		"a node that cannot": {old: func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		}, change: func(*corev1.Pod) {}, want: []string{"spec: Forbidden: Pod running on node without support for resize"}},
		"unsupported": {more: true, change: func(p *corev1.Pod) {
			set(p.Spec.Containers[0].Resources.Limits, "example.com/gpu", "1")
		}, want: []string{
			"spec.containers[0].resources.limits[example.com/gpu]: Forbidden: not supported yet: only cpu, memory, ephemeral-storage and huge pages are counted and limited",
			"spec: Forbidden: only cpu and memory resources are mutable",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			was := stored(t, sizedPod)
			if tc.old != nil {
				tc.old(was)
			}
			p := was.DeepCopy()
			tc.change(p)
			resizeStrategy{}.PrepareForUpdate(t.Context(), p, was)
			var got []string
			for _, e := range (resizeStrategy{}).ValidateUpdate(t.Context(), p, was) {
				got = append(got, e.Error())
			}
			slices.Sort(got)
			if !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			if more := p.Generation != was.Generation; more != tc.more || p.Labels["a"] != "" || p.Status.Phase != was.Status.Phase {
				t.Errorf("generation %d, labels %v, phase %s", p.Generation, p.Labels, p.Status.Phase)
			}
		})
	}
}

func TestResizePoliciesOfNewPods(t *testing.T) {
	p := parsePod(t, `spec:
  restartPolicy: Never
  initContainers:
  - {name: i, image: x, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}
  containers:
  - name: a
    image: x
    resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: Nope}, {resourceName: disk}]`)
	var got []string
	for _, e := range create(t, p) {
		got = append(got, e.Error())
	}
	slices.Sort(got)
	const never = `must be 'NotRequired' when pod ` + "`restartPolicy`" + ` is 'Never'`
	want := []string{
		`spec.containers[0].resizePolicy: Invalid value: "": ` + never,
		`spec.containers[0].resizePolicy: Invalid value: "Nope": ` + never,
		`spec.containers[0].resizePolicy: Required value`,
		`spec.containers[0].resizePolicy: Unsupported value: "Nope": supported values: "NotRequired", "RestartContainer"`,
		`spec.containers[0].resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"`,
		`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`,
		`spec.initContainers[0].resizePolicy: Invalid value: "RestartContainer": ` + never,
		`spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must not be set to 'RestartContainer' for non-sidecar initContainers`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
