package kind

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// strategy is what the library asks at each write to one endpoint of a kind.
type strategy[T Object] struct {
	SaidOnce
	names.NameGenerator
	kind  Kind[T]
	rules Rules[T]
}

var (
	_ rest.RESTCreateStrategy              = strategy[Object]{}
	_ rest.RESTUpdateStrategy              = strategy[Object]{}
	_ rest.RESTDeleteStrategy              = strategy[Object]{}
	_ rest.ResetFieldsStrategy             = strategy[Object]{}
	_ rest.GarbageCollectionDeleteStrategy = strategy[Object]{}
)

// Strategy is what the library asks at each write to one endpoint.
type Strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// Strategy returns that of an endpoint with the given rules.
func (k Kind[T]) Strategy(r Rules[T]) Strategy { return k.strategy(r) }

func (k Kind[T]) strategy(r Rules[T]) strategy[T] {
	return strategy[T]{NameGenerator: names.SimpleNameGenerator, kind: k, rules: r}
}

// ObjectKinds names the kind in errors.
func (s strategy[T]) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if _, ok := obj.(T); !ok {
		return nil, false, fmt.Errorf("%T is no %s", obj, s.kind.GVK.Kind)
	}
	return []schema.GroupVersionKind{s.kind.GVK}, false, nil
}

func (s strategy[T]) Recognizes(gvk schema.GroupVersionKind) bool { return gvk == s.kind.GVK }

func (s strategy[T]) NamespaceScoped() bool                    { return s.kind.Namespaced }
func (s strategy[T]) AllowCreateOnUpdate(context.Context) bool { return s.kind.CreateOnUpdate }
func (s strategy[T]) AllowUnconditionalUpdate(context.Context) bool {
	return s.kind.UnconditionalUpdate
}
func (s strategy[T]) Canonicalize(runtime.Object) {}

func (s strategy[T]) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	if s.kind.OrphanDependents {
		return rest.OrphanDependents
	}
	return rest.DeleteDependents
}

func (s strategy[T]) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.rules.Prepare != nil {
		s.rules.Prepare(obj.(T))
	}
}

func (s strategy[T]) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	if s.rules.PrepareUpdate != nil {
		s.rules.PrepareUpdate(obj.(T), old.(T))
	}
}

func (s strategy[T]) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	errs := s.metadata(obj)
	if s.rules.Validate != nil {
		errs = append(errs, s.rules.Validate(ctx, obj.(T))...)
	}
	return errs
}

func (s strategy[T]) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	errs := ValidateFinalizers(obj.(T).GetFinalizers(), field.NewPath("metadata", "finalizers"))
	if s.rules.ValidateUpdate != nil {
		errs = append(errs, s.rules.ValidateUpdate(ctx, obj.(T), old.(T))...)
	}
	return errs
}

func (s strategy[T]) metadata(obj runtime.Object) field.ErrorList {
	m, err := meta.Accessor(obj)
	if err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("metadata"), err)}
	}
	valid := s.kind.ValidName
	if valid == nil {
		valid = validation.NameIsDNSSubdomain
	}
	return append(validation.ValidateObjectMetaAccessor(m, s.kind.Namespaced, valid, field.NewPath("metadata")),
		ValidateFinalizers(m.GetFinalizers(), field.NewPath("metadata", "finalizers"))...)
}

func (s strategy[T]) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	if s.rules.Warnings == nil {
		return nil
	}
	return s.rules.Warnings(obj.(T))
}

func (s strategy[T]) WarningsOnUpdate(ctx context.Context, obj, _ runtime.Object) []string {
	if s.rules.WarnOnce {
		return nil
	}
	return s.WarningsOnCreate(ctx, obj)
}

// GetResetFields names what an apply to this endpoint cannot own.
func (s strategy[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	set := &fieldpath.Set{}
	for _, r := range s.rules.Reset {
		var path []any
		for p := range slices.Values(strings.Split(r, ".")) {
			path = append(path, p)
		}
		set.Insert(fieldpath.MakePathOrDie(path...))
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(s.kind.GVK.GroupVersion().String()): set,
	}
}
