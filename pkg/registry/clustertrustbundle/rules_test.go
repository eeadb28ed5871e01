package clustertrustbundle

import (
	"testing"

	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

func TestRules(t *testing.T) { kindtest.Rules(t, Kind(), nil, nil) }

func FuzzKind(f *testing.F) { kindtest.Fuzz(f, Kind(), nil, nil) }
