package persistentvolumeclaim

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/registry/kind"
	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) {
	kindtest.Rules(t, Kind(), SetDefaults, map[string]kind.Rules[*corev1.PersistentVolumeClaim]{"status": statusRules()})
}

func FuzzKind(f *testing.F) {
	kindtest.Fuzz(f, Kind(), SetDefaults, map[string]kind.Rules[*corev1.PersistentVolumeClaim]{"status": statusRules()})
}
