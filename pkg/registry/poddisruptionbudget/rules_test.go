package poddisruptionbudget

import (
	"testing"

	policyv1 "k8s.io/api/policy/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), nil, map[string]kind.Rules[*policyv1.PodDisruptionBudget]{"status": statusRules()})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), nil, map[string]kind.Rules[*policyv1.PodDisruptionBudget]{"status": statusRules()})
}
