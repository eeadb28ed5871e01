package kind

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// REST serves a kind.
type REST[T Object] struct {
	*genericregistry.Store
	kind Kind[T]
}

var (
	_ rest.StandardStorage    = &REST[Object]{}
	_ rest.ShortNamesProvider = &REST[Object]{}
	_ rest.CategoriesProvider = &REST[Object]{}
)

// NewREST makes the storage of k.
func NewREST[T Object](k Kind[T], getter generic.RESTOptionsGetter) (*REST[T], error) {
	main := k.strategy(k.Main)
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return k.New() },
		NewListFunc:               k.NewList,
		PredicateFunc:             k.predicate,
		DefaultQualifiedResource:  k.GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: k.GVK.Group, Resource: k.Singular},
		CreateStrategy:            main,
		UpdateStrategy:            main,
		DeleteStrategy:            main,
		ResetFieldsStrategy:       main,
		TableConvertor:            table[T]{k},
	}
	if k.TTL > 0 {
		store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return k.TTL, nil }
	}
	if err := store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter, AttrFunc: k.attributes}); err != nil {
		return nil, fmt.Errorf("storage of %s: %w", k.Resource, err)
	}
	return &REST[T]{Store: store, kind: k}, nil
}

// ShortNames are what kubectl takes for the resource.
func (r *REST[T]) ShortNames() []string { return r.kind.ShortNames }

// Categories are the groups of kinds it is listed with.
func (r *REST[T]) Categories() []string { return r.kind.Categories }

// Sub returns a subresource that writes a part of the same objects under its
// own rules, such as status.
func (r *REST[T]) Sub(rules Rules[T]) *SubREST[T] {
	store := *r.Store
	s := r.kind.strategy(rules)
	store.UpdateStrategy, store.ResetFieldsStrategy = s, s
	return &SubREST[T]{store: &store, kind: r.kind}
}

func (k Kind[T]) attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, nil, fmt.Errorf("%T is no %s", obj, k.GVK.Kind)
	}
	return o.GetLabels(), k.selectable(o), nil
}

func (k Kind[T]) predicate(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: k.attributes}
}

// SubREST serves a subresource: it reads and updates, and neither creates nor
// deletes.
type SubREST[T Object] struct {
	store *genericregistry.Store
	kind  Kind[T]
}

var (
	_ rest.Patcher             = &SubREST[Object]{}
	_ rest.ResetFieldsStrategy = &SubREST[Object]{}
	_ rest.TableConvertor      = &SubREST[Object]{}
)

// New returns an empty object.
func (r *SubREST[T]) New() runtime.Object { return r.kind.New() }

// Destroy does nothing: the store belongs to REST.
func (r *SubREST[T]) Destroy() {}

// Get returns the whole object.
func (r *SubREST[T]) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, o)
}

// Update writes this subresource's part of an object that exists.
func (r *SubREST[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, create, update, false, o)
}

// GetResetFields names what an apply to the subresource cannot own.
func (r *SubREST[T]) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable prints the object as REST does.
func (r *SubREST[T]) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, o)
}
