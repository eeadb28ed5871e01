package job

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), SetDefaults, map[string]kind.Rules[*batchv1.Job]{"status": statusRules()})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), SetDefaults, map[string]kind.Rules[*batchv1.Job]{"status": statusRules()})
}
