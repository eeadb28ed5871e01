package pod

import (
	"context"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// EvictionREST deletes a pod on behalf of one who empties a node. There are
// no disruption budgets yet, so an eviction is always granted.
type EvictionREST struct {
	store *genericregistry.Store
}

var (
	_ rest.NamedCreater             = &EvictionREST{}
	_ rest.GroupVersionKindProvider = &EvictionREST{}
)

// New returns an empty Eviction.
func (*EvictionREST) New() runtime.Object { return &policyv1.Eviction{} }

// Destroy does nothing: the store belongs to REST.
func (*EvictionREST) Destroy() {}

// GroupVersionKind says that the body is of another group than the pod.
func (*EvictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create evicts the pod of that name.
func (r *EvictionREST) Create(ctx context.Context, name string, obj runtime.Object,
	validate rest.ValidateObjectFunc, options *metav1.CreateOptions,
) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not an Eviction object: %T", obj))
	}
	if eviction.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if validate != nil {
		if err := validate(ctx, eviction.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	deletion := &metav1.DeleteOptions{}
	if eviction.DeleteOptions != nil {
		deletion = eviction.DeleteOptions.DeepCopy()
	}
	if dryrun.IsDryRun(options.DryRun) {
		deletion.DryRun = options.DryRun
	}
	if err := r.mark(ctx, name, deletion); err != nil {
		return nil, err
	}
	if _, _, err := r.store.Delete(ctx, name, rest.ValidateAllObjectFunc, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// mark tells in the pod's conditions why it goes, before it goes.
func (r *EvictionREST) mark(ctx context.Context, name string, deletion *metav1.DeleteOptions) error {
	var pre *storage.Preconditions
	if p := deletion.Preconditions; p != nil {
		pre = &storage.Preconditions{UID: p.UID, ResourceVersion: p.ResourceVersion}
		// Marking makes a new resource version; the UID still holds.
		deletion.Preconditions = &metav1.Preconditions{UID: p.UID}
	}
	return updatePod(ctx, r.store, "eviction", name, pre, deletion.DryRun, func(p *corev1.Pod) error {
		if ended(p) || p.DeletionTimestamp != nil {
			return nil
		}
		setCondition(p, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		return nil
	})
}
