package lease

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
)

func TestValidate(t *testing.T) {
	number := func(n int32) *int32 { return &n }
	text := func(s string) *string { return &s }
	strategy := coordinationv1.OldestEmulationVersion
	for name, c := range map[string]struct {
		spec coordinationv1.LeaseSpec
		want int
	}{
		"empty":              {coordinationv1.LeaseSpec{}, 0},
		"good":               {coordinationv1.LeaseSpec{LeaseDurationSeconds: number(1), LeaseTransitions: number(0), HolderIdentity: text("h")}, 0},
		"no duration":        {coordinationv1.LeaseSpec{LeaseDurationSeconds: number(0)}, 1},
		"negative":           {coordinationv1.LeaseSpec{LeaseTransitions: number(-1)}, 1},
		"preferred":          {coordinationv1.LeaseSpec{Strategy: &strategy, PreferredHolder: text("h")}, 0},
		"without a strategy": {coordinationv1.LeaseSpec{PreferredHolder: text("h")}, 1},
	} {
		if got := Validate(&c.spec); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
