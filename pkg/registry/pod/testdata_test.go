package pod

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// document is one pod of a test file and the lines that begin with #!.
type document struct {
	name string
	want []string
	pod  *corev1.Pod
}

func readPods(t *testing.T, file string) []document {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		d := document{pod: parsePod(t, text)}
		for line := range strings.SplitSeq(text, "\n") {
			if want, ok := strings.CutPrefix(line, "#! "); ok {
				d.want = append(d.want, want)
			} else if name, ok := strings.CutPrefix(line, "# "); ok {
				d.name = name
			}
		}
		if len(d.want) > 0 {
			d.name = d.want[0]
		}
		docs = append(docs, d)
	}
	return docs
}

// parsePod reads a pod strictly and completes what a test leaves out. The
// name - stands for none.
func parsePod(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	p.Namespace = "default"
	switch p.Name {
	case "":
		p.Name = "web"
	case "-":
		p.Name = ""
	}
	if p.Spec.Containers == nil {
		p.Spec.Containers = []corev1.Container{{Name: "main", Image: "busybox"}}
	}
	return p
}

// create does to a pod what the API does before it stores it.
func create(t *testing.T, p *corev1.Pod) field.ErrorList {
	t.Helper()
	SetDefaults(p)
	s := newStrategy()
	s.PrepareForCreate(t.Context(), p)
	errs := s.Validate(t.Context(), p)
	s.Canonicalize(p)
	return errs
}
