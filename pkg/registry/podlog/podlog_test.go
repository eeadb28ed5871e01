package podlog

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestContainer(t *testing.T) {
	pod := func(annotation string, inits, mains []string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{defaultContainerAnnotation: annotation}}}
		for _, n := range inits {
			p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: n})
		}
		for _, n := range mains {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n})
		}
		return p
	}
	two := []string{"a", "b"}
	for name, c := range map[string]struct {
		pod               *corev1.Pod
		asked, want, fail string
	}{
		"the only one":        {pod: pod("", []string{"i"}, []string{"a"}), want: "a"},
		"asked":               {pod: pod("", nil, two), asked: "b", want: "b"},
		"an init container":   {pod: pod("", []string{"i"}, two), asked: "i", want: "i"},
		"annotated":           {pod: pod("b", nil, two), want: "b"},
		"wrongly annotated":   {pod: pod("c", nil, two), fail: "a container name must be specified for pod p, choose one of: [a b]"},
		"several":             {pod: pod("", nil, two), fail: "a container name must be specified for pod p, choose one of: [a b]"},
		"several and an init": {pod: pod("", []string{"i"}, two), fail: "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"},
		"unknown":             {pod: pod("", nil, two), asked: "z", fail: "container z is not valid for pod p"},
	} {
		got, err := Container(c.pod, c.asked)
		if got != c.want || (err == nil) != (c.fail == "") || err != nil && err.Error() != c.fail {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestDecodeValidateAndQuery(t *testing.T) {
	for in, want := range map[string]struct {
		query   string
		decodes bool
		invalid int
	}{
		"": {"", true, 0},
		"container=a&follow=true&previous=1&timestamps": {"follow=true&previous=true&timestamps=true", true, 0},
		"follow=false&previous=0":                       {"", true, 0},
		"tailLines=0&limitBytes=5&sinceSeconds=3":       {"limitBytes=5&sinceSeconds=3&tailLines=0", true, 0},
		"sinceTime=2026-01-02T03:04:05%2B01:00":         {"sinceTime=2026-01-02T02%3A04%3A05Z", true, 0},
		"tailLines=-1&limitBytes=0":                     {"limitBytes=0&tailLines=-1", true, 2},
		"sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z": {"sinceSeconds=1&sinceTime=2026-01-02T03%3A04%3A05Z", true, 1},
		"stream=Stderr":                                 {"stream=Stderr", true, 0},
		"stream=All":                                    {"", true, 0},
		"stream=x":                                      {"stream=x", true, 1},
		"tailLines=x":                                   {decodes: false},
		"sinceTime=yesterday":                           {decodes: false},
	} {
		q, err := url.ParseQuery(in)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Decode(q)
		if (err == nil) != want.decodes {
			t.Errorf("%s: %v", in, err)
		}
		if err != nil {
			continue
		}
		if d := cmp.Diff(want.query, Query(o).Encode()); d != "" {
			t.Errorf("%s:\n%s", in, d)
		}
		if got := Validate(o); len(got) != want.invalid {
			t.Errorf("%s: %v", in, got)
		}
	}
}

// FuzzDecode: a query is refused, or means the same after a second pass.
func FuzzDecode(f *testing.F) {
	f.Add("follow=true&tailLines=5&sinceTime=2026-01-02T03:04:05Z")
	f.Add("sinceTime=0000-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			t.Skip()
		}
		o, err := Decode(q)
		if err != nil || len(Validate(o)) > 0 {
			return
		}
		again, err := Decode(Query(o))
		if err != nil {
			// A year that RFC 3339 cannot print in UTC.
			return
		}
		if d := cmp.Diff(Query(o), Query(again)); d != "" {
			t.Error(d)
		}
	})
}
