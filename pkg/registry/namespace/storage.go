package namespace

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// NewStorage returns what is served, by resource name.
func NewStorage(getter generic.RESTOptionsGetter) (map[string]rest.Storage, error) {
	all, err := kind.NewREST(Kind(), getter)
	if err != nil {
		return nil, err
	}
	all.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
		return len(obj.(*corev1.Namespace).Spec.Finalizers) == 0 &&
			genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
	}
	return map[string]rest.Storage{
		"namespaces":          &REST{store: all.Store, all: all},
		"namespaces/status":   all.Sub(statusRules()),
		"namespaces/finalize": all.Sub(finalizeRules()),
	}, nil
}

// REST serves namespaces. They cannot be deleted as a collection, and a
// deletion only begins their end: what they hold goes first.
type REST struct {
	store *genericregistry.Store
	all   *kind.REST[*corev1.Namespace]
}

var (
	_ rest.Creater              = &REST{}
	_ rest.Lister               = &REST{}
	_ rest.Watcher              = &REST{}
	_ rest.Patcher              = &REST{}
	_ rest.GracefulDeleter      = &REST{}
	_ rest.ResetFieldsStrategy  = &REST{}
	_ rest.StorageWithReadiness = &REST{}
)

// Delete marks a namespace as Terminating; once its finalizers have gone, the
// namespace goes too.
func (r *REST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if o == nil {
		o = metav1.NewDeleteOptions(0)
	}
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	n := obj.(*corev1.Namespace)
	pre, err := preconditions(n, o)
	if err != nil {
		return nil, false, err
	}
	if n.DeletionTimestamp.IsZero() {
		return r.terminate(ctx, name, pre, validate, o)
	}
	if len(n.Spec.Finalizers) > 0 || len(n.Finalizers) > 0 {
		return n, false, nil
	}
	o = o.DeepCopy()
	o.Preconditions = &metav1.Preconditions{UID: pre.UID, ResourceVersion: pre.ResourceVersion}
	return r.store.Delete(ctx, name, validate, o)
}

// preconditions pins the deletion to the namespace that was read, so that one
// made anew under the same name is not hit.
func preconditions(n *corev1.Namespace, o *metav1.DeleteOptions) (*storage.Preconditions, error) {
	pre := &storage.Preconditions{UID: &n.UID}
	if o.Preconditions == nil {
		return pre, nil
	}
	pre.ResourceVersion = o.Preconditions.ResourceVersion
	if uid := o.Preconditions.UID; uid != nil && *uid != n.UID {
		return nil, apierrors.NewConflict(corev1.Resource("namespaces"), n.Name,
			storage.NewInvalidObjError(n.Name, "Precondition failed: UID in precondition: "+string(*uid)+", UID in object meta: "+string(n.UID)))
	}
	return pre, nil
}

func (r *REST) terminate(ctx context.Context, name string, pre *storage.Preconditions,
	validate rest.ValidateObjectFunc, o *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	out := &corev1.Namespace{}
	err = r.store.Storage.GuaranteedUpdate(ctx, key, out, false, pre,
		storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
			n := existing.(*corev1.Namespace)
			if validate != nil {
				if err := validate(ctx, n); err != nil {
					return nil, err
				}
			}
			if n.DeletionTimestamp.IsZero() {
				now := metav1.Now()
				n.DeletionTimestamp = &now
			}
			n.Status.Phase = corev1.NamespaceTerminating
			n.Finalizers = dependentFinalizers(n.Finalizers, o)
			return n, nil
		}), dryrun.IsDryRun(o.DryRun), nil)
	if err != nil {
		err = storeerr.InterpretGetError(err, corev1.Resource("namespaces"), name)
		err = storeerr.InterpretDeleteError(err, corev1.Resource("namespaces"), name)
		return nil, false, err
	}
	return out, false, nil
}

// dependentFinalizers adds the finalizer that the propagation policy asks for
// and takes the other one away.
func dependentFinalizers(have []string, o *metav1.DeleteOptions) []string {
	want := ""
	switch {
	case o.PropagationPolicy != nil && *o.PropagationPolicy == metav1.DeletePropagationOrphan,
		o.OrphanDependents != nil && *o.OrphanDependents: //nolint:staticcheck // old clients still send it
		want = metav1.FinalizerOrphanDependents
	case o.PropagationPolicy != nil && *o.PropagationPolicy == metav1.DeletePropagationForeground:
		want = metav1.FinalizerDeleteDependents
	case o.PropagationPolicy == nil && o.OrphanDependents == nil: //nolint:staticcheck // as above
		return have
	}
	have = slices.DeleteFunc(slices.Clone(have), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if want != "" {
		have = append(have, want)
	}
	return have
}

// New returns an empty Namespace.
func (r *REST) New() runtime.Object { return r.store.New() }

// NewList returns an empty NamespaceList.
func (r *REST) NewList() runtime.Object { return r.store.NewList() }

// Destroy closes the storage.
func (r *REST) Destroy() { r.store.Destroy() }

// ReadinessCheck says whether the storage can be read.
func (r *REST) ReadinessCheck() error { return r.store.ReadinessCheck() }

// NamespaceScoped is false: namespaces are not in namespaces.
func (r *REST) NamespaceScoped() bool { return false }

// GetSingularName names one.
func (r *REST) GetSingularName() string { return r.store.GetSingularName() }

// ShortNames are what kubectl takes for the resource.
func (r *REST) ShortNames() []string { return r.all.ShortNames() }
