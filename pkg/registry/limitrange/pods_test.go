package limitrange

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func ranges(t *testing.T, limits string) *corev1.LimitRange {
	t.Helper()
	l := read[corev1.LimitRange](t, "spec: {limits: ["+limits+"]}")
	SetDefaults(l)
	return l
}

func podOf(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	return read[corev1.Pod](t, "spec: {"+spec+"}")
}

func TestApply(t *testing.T) {
	l := ranges(t, "{type: Container, max: {memory: 64Mi}, min: {cpu: 100m}, default: {cpu: 200m}}, {type: Pod, max: {cpu: 2}}")
	p := podOf(t, "containers: [{name: open}, {name: set, resources: {requests: {cpu: 50m}, limits: {memory: 1Mi}}}], initContainers: [{name: first, resources: {limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1, memory: 1Mi}}}]")
	Apply(l, p)
	want := podOf(t, "containers: [{name: open, resources: {limits: {cpu: 200m, memory: 64Mi}, requests: {cpu: 200m, memory: 64Mi}}}, "+
		"{name: set, resources: {limits: {cpu: 200m, memory: 1Mi}, requests: {cpu: 50m, memory: 64Mi}}}], "+
		"initContainers: [{name: first, resources: {limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1, memory: 1Mi}}}]")
	if !apiequality.Semantic.DeepEqual(p.Spec, want.Spec) {
		t.Error(cmp.Diff(want.Spec, p.Spec))
	}
	if got, want := p.Annotations[annotation], "LimitRanger plugin set: cpu, memory request for container open; cpu, memory limit for container open; memory request for container set; cpu limit for container set"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	settled := p.DeepCopy()
	Apply(l, p)
	if !apiequality.Semantic.DeepEqual(p, settled) {
		t.Error("a second time changes something")
	}
}

func TestCheck(t *testing.T) {
	const container, whole = "type: Container, ", "type: Pod, "
	for _, c := range []struct{ limit, pod, want string }{
		{container + "min: {cpu: 100m}", "containers: [{resources: {requests: {cpu: 100m}}}]", ""},
		{container + "min: {cpu: 100m}", "containers: [{}]", "minimum cpu usage per Container is 100m.  No request is specified"},
		{container + "min: {cpu: 100m}", "containers: [{resources: {requests: {cpu: 50m}}}]", "minimum cpu usage per Container is 100m, but request is 50m"},
		{container + "min: {cpu: 100m}", "containers: [{resources: {requests: {cpu: 100m}, limits: {cpu: 50m}}}]", "minimum cpu usage per Container is 100m, but limit is 50m"},
		{container + "max: {memory: 1Gi}", "initContainers: [{}]", "maximum memory usage per Container is 1Gi.  No limit is specified"},
		{container + "max: {memory: 1Gi}", "containers: [{resources: {limits: {memory: 2Gi}}}]", "maximum memory usage per Container is 1Gi, but limit is 2Gi"},
		{container + "max: {memory: 1Gi}", "containers: [{resources: {limits: {memory: 1Gi}, requests: {memory: 2Gi}}}]", "maximum memory usage per Container is 1Gi, but request is 2Gi"},
		{container + "maxLimitRequestRatio: {cpu: 2}", "containers: [{resources: {limits: {cpu: 1}, requests: {cpu: 500m}}}]", ""},
		{container + "maxLimitRequestRatio: {cpu: 2}", "containers: [{resources: {limits: {cpu: 1}, requests: {cpu: 250m}}}]", "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000"},
		{container + "maxLimitRequestRatio: {cpu: 2}", "containers: [{resources: {limits: {cpu: 1}}}]", "but no request is specified or request is 0"},
		{container + "maxLimitRequestRatio: {cpu: 2}", "containers: [{resources: {requests: {cpu: 1}}}]", "but no limit is specified or limit is 0"},
		{whole + "max: {cpu: 1}", "containers: [{resources: {limits: {cpu: 600m}}}, {resources: {limits: {cpu: 600m}}}]", "maximum cpu usage per Pod is 1, but limit is 1200m"},
		{whole + "max: {cpu: 1}", "resources: {limits: {cpu: 1}}, containers: [{}, {}]", ""},
		{whole + "min: {cpu: 1}", "containers: [{resources: {requests: {cpu: 600m}}}, {resources: {requests: {cpu: 600m}}}]", ""},
	} {
		l := read[corev1.LimitRange](t, "spec: {limits: [{"+c.limit+"}]}")
		var got []string
		for _, err := range Check(l, podOf(t, c.pod)) {
			got = append(got, err.Error())
		}
		if all := strings.Join(got, "; "); c.want == "" && all != "" || !strings.Contains(all, c.want) {
			t.Errorf("%s, %s: %q, want %q", c.limit, c.pod, all, c.want)
		}
	}
}
