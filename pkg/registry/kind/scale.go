package kind

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Scaling tells how a kind is scaled.
type Scaling[T Object] struct {
	// Replicas points to the wanted number, in the given object.
	Replicas func(T) **int32
	// Status is the observed number, and the selector in its string form.
	Status func(T) (replicas int32, selector string)
}

// ScaleREST serves the scale subresource of a kind.
type ScaleREST[T Object] struct {
	store   *genericregistry.Store
	kind    Kind[T]
	scaling Scaling[T]
}

var (
	_ rest.Patcher                  = &ScaleREST[Object]{}
	_ rest.GroupVersionKindProvider = &ScaleREST[Object]{}
	_ rest.TableConvertor           = &ScaleREST[Object]{}
)

// Scale returns the scale subresource.
func (r *REST[T]) Scale(s Scaling[T]) *ScaleREST[T] {
	return &ScaleREST[T]{store: r.Store, kind: r.kind, scaling: s}
}

// GroupVersionKind is that of the one Scale there is.
func (*ScaleREST[T]) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty Scale.
func (*ScaleREST[T]) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the store belongs to REST.
func (*ScaleREST[T]) Destroy() {}

// ConvertToTable prints name and age.
func (r *ScaleREST[T]) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(r.kind.GroupResource()).ConvertToTable(ctx, obj, o)
}

// Get returns the scale of an object.
func (r *ScaleREST[T]) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return r.scaling.scale(obj.(T)), nil
}

// Update writes the wanted number of replicas.
func (r *ScaleREST[T]) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo,
	create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, &scaleUpdate[T]{info: info, kind: r.kind, scaling: r.scaling},
		func(ctx context.Context, obj runtime.Object) error {
			return create(ctx, r.scaling.scale(obj.(T)))
		},
		func(ctx context.Context, obj, old runtime.Object) error {
			return update(ctx, r.scaling.scale(obj.(T)), r.scaling.scale(old.(T)))
		}, false, o)
	if err != nil {
		return nil, false, err
	}
	return r.scaling.scale(obj.(T)), false, nil
}

func (s Scaling[T]) scale(obj T) *autoscalingv1.Scale {
	out := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
	}
	if n := *s.Replicas(obj); n != nil {
		out.Spec.Replicas = *n
	}
	out.Status.Replicas, out.Status.Selector = s.Status(obj)
	return out
}

// scaleUpdate turns the update of a Scale into that of its object.
type scaleUpdate[T Object] struct {
	info    rest.UpdatedObjectInfo
	kind    Kind[T]
	scaling Scaling[T]
}

func (u *scaleUpdate[T]) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u *scaleUpdate[T]) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject().(T)
	gv := u.kind.GVK.GroupVersion()
	owned := managedfields.NewScaleHandler(obj.GetManagedFields(), gv, managedfields.ResourcePathMappings{
		gv.String(): fieldpath.MakePathOrDie("spec", "replicas"),
	})
	was := u.scaling.scale(obj)
	var err error
	if was.ManagedFields, err = owned.ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := u.info.UpdatedObject(ctx, was)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected input object type to be Scale, but %T", updated))
	}
	if errs := validateScale(scale); len(errs) > 0 {
		gk := autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind()
		return nil, apierrors.NewInvalid(gk, obj.GetName(), errs)
	}
	if scale.UID != "" && scale.UID != obj.GetUID() {
		return nil, apierrors.NewConflict(u.kind.GroupResource(), obj.GetName(),
			//nolint:staticcheck // Kubernetes' words
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, obj.GetUID()))
	}
	if scale.ResourceVersion != "" {
		obj.SetResourceVersion(scale.ResourceVersion)
	}
	*u.scaling.Replicas(obj) = &scale.Spec.Replicas
	entries, err := owned.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	obj.SetManagedFields(entries)
	return obj, nil
}

func validateScale(s *autoscalingv1.Scale) field.ErrorList {
	errs := validation.ValidateObjectMeta(&s.ObjectMeta, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	return append(errs, validation.ValidateNonnegativeField(int64(s.Spec.Replicas), field.NewPath("spec", "replicas"))...)
}
