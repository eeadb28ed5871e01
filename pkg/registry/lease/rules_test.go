package lease

import (
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), nil, map[string]kind.Rules[*coordinationv1.Lease]{})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), nil, map[string]kind.Rules[*coordinationv1.Lease]{})
}
