package podtemplate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), SetDefaults, map[string]kind.Rules[*corev1.PodTemplate]{})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), SetDefaults, map[string]kind.Rules[*corev1.PodTemplate]{})
}

func TestGeneration(t *testing.T) {
	rules := Kind().Main
	old := &corev1.PodTemplate{}
	rules.Prepare(old)
	for _, c := range []struct {
		name   string
		change func(*corev1.PodTemplate)
		want   int64
	}{
		{"labels of the object", func(p *corev1.PodTemplate) { p.Labels = map[string]string{"a": "b"} }, 1},
		{"labels of the template", func(p *corev1.PodTemplate) { p.Template.Labels = map[string]string{"a": "b"} }, 2},
		{"the spec", func(p *corev1.PodTemplate) { p.Template.Spec.NodeName = "n" }, 2},
	} {
		changed := old.DeepCopy()
		c.change(changed)
		rules.PrepareUpdate(changed, old)
		if changed.Generation != c.want {
			t.Errorf("%s: generation %d, want %d", c.name, changed.Generation, c.want)
		}
	}
}
