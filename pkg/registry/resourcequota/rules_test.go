package resourcequota

import (
	"testing"

	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), SetDefaults, map[string]rules{"status": statusRules()})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), SetDefaults, map[string]rules{"status": statusRules()})
}
