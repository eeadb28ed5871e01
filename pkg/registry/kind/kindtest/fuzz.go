package kindtest

import (
	"context"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/randfill"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// seeds are how many random objects an ordinary test tries.
const seeds = 40

// Random fills an object from a seed: some fields, with anything in them.
func Random(obj any, seed int64) {
	randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63()-c.Int63(), resource.DecimalSI)
		},
		func(r *runtime.RawExtension, c randfill.Continue) {
			r.Raw = []byte(`{"a":1}`)
			if c.Bool() {
				r.Raw = nil
			}
		},
		// Managed fields are written by the server alone.
		func(*metav1.ManagedFieldsEntry, randfill.Continue) {},
	).Fill(obj)
}

// Fuzz sends random objects through all that the API does to objects of a kind.
// Nothing panics; defaults are idempotent; validation changes nothing.
func Fuzz[T kind.Object](f *testing.F, k kind.Kind[T], defaults func(T), subs map[string]kind.Rules[T]) {
	f.Helper()
	for seed := range int64(seeds) {
		f.Add(seed, seed+1)
	}
	f.Fuzz(func(t *testing.T, a, b int64) {
		obj, other := k.New(), k.New()
		Random(obj, a)
		Random(other, b)
		if defaults != nil {
			defaults(obj)
			defaults(other)
			once := obj.DeepCopyObject()
			defaults(obj)
			if !apiequality.Semantic.DeepEqual(once, runtime.Object(obj)) {
				t.Errorf("defaults are not idempotent for %+v", once)
			}
		}
		create(t, k, obj.DeepCopyObject().(T))
		update(t, k, k.Main, obj.DeepCopyObject().(T), other.DeepCopyObject().(T))
		for _, rules := range subs {
			update(t, k, rules, obj.DeepCopyObject().(T), other.DeepCopyObject().(T))
		}
		if k.Row(obj) == nil {
			t.Error("an object without a row")
		}
	})
}

func create[T kind.Object](t *testing.T, k kind.Kind[T], obj T) {
	t.Helper()
	ctx := genericrequest.WithNamespace(t.Context(), obj.GetNamespace())
	s := k.Strategy(k.Main)
	_ = rest.BeforeCreate(s, ctx, obj)
	unchanged(t, obj, func(ctx context.Context) { _ = s.Validate(ctx, obj) })
	unchanged(t, obj, func(ctx context.Context) { _ = s.WarningsOnCreate(ctx, obj) })
}

func update[T kind.Object](t *testing.T, k kind.Kind[T], rules kind.Rules[T], obj, old T) {
	t.Helper()
	old.SetNamespace(obj.GetNamespace())
	Stored(obj, old)
	ctx := genericrequest.WithNamespace(t.Context(), obj.GetNamespace())
	s := k.Strategy(rules)
	unchanged(t, old, func(context.Context) { _ = rest.BeforeUpdate(s, ctx, obj, old) })
	unchanged(t, obj, func(ctx context.Context) { _ = s.ValidateUpdate(ctx, obj, old) })
	unchanged(t, obj, func(ctx context.Context) { _ = s.WarningsOnUpdate(ctx, obj, old) })
}

func unchanged(t *testing.T, obj runtime.Object, do func(ctx context.Context)) {
	t.Helper()
	before := obj.DeepCopyObject()
	do(t.Context())
	if !apiequality.Semantic.DeepEqual(before, obj) {
		t.Errorf("it changed\n%+v\ninto\n%+v", before, obj)
	}
}
