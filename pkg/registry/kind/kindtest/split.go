package kindtest

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// Split is how the spec of a kind and its status are changed and compared.
type Split[T kind.Object] struct {
	// Good makes a valid object.
	Good func() T
	// Spec and Status change one of the two.
	Spec, Status func(T)
	// Parts returns both.
	Parts func(T) (spec, status any)
}

// StatusIsApart checks that each endpoint of a kind writes its own half, that a
// change of the spec is a new generation, and that a row fills all columns.
func StatusIsApart[T kind.Object](t *testing.T, k kind.Kind[T], status kind.Rules[T], s Split[T]) {
	t.Helper()
	obj := s.Good()
	s.Status(obj)
	ctx := genericrequest.WithNamespace(t.Context(), obj.GetNamespace())
	rest.FillObjectMetaSystemFields(obj)
	if err := rest.BeforeCreate(k.Strategy(k.Main), ctx, obj); err != nil {
		t.Fatal(err)
	}
	_, got := s.Parts(obj)
	_, none := s.Parts(k.New())
	if obj.GetGeneration() != 1 || !apiequality.Semantic.DeepEqual(got, none) {
		t.Errorf("a new object has generation %d and status %+v", obj.GetGeneration(), got)
	}
	if row := k.Row(obj); len(row) != len(k.Columns) {
		t.Errorf("%d cells in %d columns", len(row), len(k.Columns))
	}
	for _, tc := range []struct {
		name       string
		rules      kind.Rules[T]
		change     []func(T)
		spec       bool
		status     bool
		generation int64
	}{
		{"status by the main endpoint", k.Main, []func(T){s.Status}, false, false, 1},
		{"both by the main endpoint", k.Main, []func(T){s.Spec, s.Status}, true, false, 2},
		{"both by the status", status, []func(T){s.Spec, s.Status}, false, true, 1},
	} {
		now, old := obj.DeepCopyObject().(T), obj.DeepCopyObject().(T)
		for _, change := range tc.change {
			change(now)
		}
		Stored(now, old)
		if err := rest.BeforeUpdate(k.Strategy(tc.rules), ctx, now, old); err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		spec, state := s.Parts(now)
		oldSpec, oldState := s.Parts(old)
		if changed := !apiequality.Semantic.DeepEqual(spec, oldSpec); changed != tc.spec {
			t.Errorf("%s: the spec changed: %t", tc.name, changed)
		}
		if changed := !apiequality.Semantic.DeepEqual(state, oldState); changed != tc.status {
			t.Errorf("%s: the status changed: %t", tc.name, changed)
		}
		if g := now.GetGeneration(); g != tc.generation {
			t.Errorf("%s: generation %d, want %d", tc.name, g, tc.generation)
		}
	}
}
