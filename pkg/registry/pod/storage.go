package pod

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// podsResource names the resource in errors and storage paths.
func podsResource() schema.GroupResource { return schema.GroupResource{Resource: "pods"} }

// Storage is everything the API serves about pods, apart from what needs a
// node (logs).
type Storage struct {
	// Pod serves pods.
	Pod *REST
	// Status serves pods/status.
	Status *StatusREST
	// Ephemeral serves pods/ephemeralcontainers.
	Ephemeral *EphemeralREST
	// Resize serves pods/resize.
	Resize *ResizeREST
	// Binding serves pods/binding, LegacyBinding serves bindings.
	Binding       *BindingREST
	LegacyBinding *LegacyBindingREST
	// Eviction serves pods/eviction. Its body is policy/v1 Eviction, which
	// the scheme needs under the internal version of its group too.
	Eviction *EvictionREST
}

// Map returns the storage by the names that the API group's version wants.
func (s Storage) Map() map[string]rest.Storage {
	return map[string]rest.Storage{
		"pods":                     s.Pod,
		"pods/status":              s.Status,
		"pods/ephemeralcontainers": s.Ephemeral,
		"pods/resize":              s.Resize,
		"pods/binding":             s.Binding,
		"pods/eviction":            s.Eviction,
		"bindings":                 s.LegacyBinding,
	}
}

// NewStorage makes the storage of pods.
func NewStorage(getter generic.RESTOptionsGetter) (Storage, error) {
	pods := newStrategy()
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return &corev1.Pod{} },
		NewListFunc:               func() runtime.Object { return &corev1.PodList{} },
		PredicateFunc:             predicate,
		DefaultQualifiedResource:  podsResource(),
		SingularQualifiedResource: schema.GroupResource{Resource: "pod"},
		CreateStrategy:            pods,
		UpdateStrategy:            pods,
		DeleteStrategy:            pods,
		ResetFieldsStrategy:       pods,
		ReturnDeletedObject:       true,
		TableConvertor:            NewTableConvertor(time.Now),
	}
	options := &generic.StoreOptions{
		RESTOptions: getter, AttrFunc: attributes, TriggerFunc: triggers(), Indexers: indexers(),
	}
	if err := store.CompleteWithOptions(options); err != nil {
		return Storage{}, fmt.Errorf("storage of pods: %w", err)
	}
	status := *store
	status.UpdateStrategy = statusStrategy{pods}
	status.ResetFieldsStrategy = statusStrategy{pods}
	ephemeral := *store
	ephemeral.UpdateStrategy = ephemeralStrategy{pods}
	ephemeral.ResetFieldsStrategy = nil
	resize := *store
	resize.UpdateStrategy = resizeStrategy{pods}
	resize.ResetFieldsStrategy = nil
	binding := &BindingREST{store: store}
	return Storage{
		Pod:           &REST{store},
		Status:        &StatusREST{store: &status},
		Ephemeral:     &EphemeralREST{store: &ephemeral},
		Resize:        &ResizeREST{store: &resize},
		Binding:       binding,
		LegacyBinding: &LegacyBindingREST{binding: binding},
		Eviction:      &EvictionREST{store: store},
	}, nil
}

// REST serves pods.
type REST struct {
	*genericregistry.Store
}

var (
	_ rest.ShortNamesProvider = &REST{}
	_ rest.CategoriesProvider = &REST{}
	_ rest.StandardStorage    = &REST{}
)

// ShortNames are what kubectl takes for pods.
func (*REST) ShortNames() []string { return []string{"po"} }

// Categories puts pods into kubectl get all.
func (*REST) Categories() []string { return []string{"all"} }

// StatusREST serves the status subresource, which has the agent as its writer.
type StatusREST struct {
	store *genericregistry.Store
}

var (
	_ rest.Patcher             = &StatusREST{}
	_ rest.ResetFieldsStrategy = &StatusREST{}
	_ rest.TableConvertor      = &StatusREST{}
)

// New returns an empty Pod.
func (*StatusREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy does nothing: the store belongs to REST.
func (*StatusREST) Destroy() {}

// Get returns the pod.
func (r *StatusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, options)
}

// Update writes the status of a pod that exists.
func (r *StatusREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	createValidation rest.ValidateObjectFunc, updateValidation rest.ValidateObjectUpdateFunc,
	_ bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, createValidation, updateValidation, false, options)
}

// GetResetFields names what an apply to the status cannot own.
func (r *StatusREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable prints the pod as REST does.
func (r *StatusREST) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, options)
}
