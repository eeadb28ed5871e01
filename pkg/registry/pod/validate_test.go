package pod

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/carob-project/carob/pkg/fields"
)

func TestGoodPodsAreAccepted(t *testing.T) {
	for _, d := range readPods(t, "good.yaml") {
		t.Run(d.name, func(t *testing.T) {
			if errs := create(t, d.pod); len(errs) > 0 {
				t.Errorf("refused: %v", errs)
			}
		})
	}
}

func TestInvalidPodsGetAllTheirErrors(t *testing.T) {
	for _, d := range readPods(t, "invalid.yaml") {
		t.Run(d.name, func(t *testing.T) {
			var got []string
			for _, e := range create(t, d.pod) {
				got = append(got, e.Error())
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(d.want))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRefusedFieldsAreNamed(t *testing.T) {
	for _, d := range readPods(t, "refused.yaml") {
		t.Run(d.name, func(t *testing.T) {
			want := map[string]string{}
			for _, w := range d.want {
				path, detail, _ := strings.Cut(w, ": ")
				want[path] = fields.NotYet + detail
			}
			for _, e := range create(t, d.pod) {
				detail, ok := want[e.Field]
				switch {
				case !ok:
					t.Errorf("unexpected: %v", e)
				case e.Type != field.ErrorTypeForbidden || !strings.HasPrefix(e.Detail, detail):
					t.Errorf("%s: %q, want %q", e.Field, e.Detail, detail)
				}
				delete(want, e.Field)
			}
			for path := range want {
				t.Errorf("%s was accepted", path)
			}
		})
	}
}
