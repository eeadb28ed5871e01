package storageclass

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), SetDefaults, map[string]kind.Rules[*storagev1.StorageClass]{})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), SetDefaults, map[string]kind.Rules[*storagev1.StorageClass]{})
}
