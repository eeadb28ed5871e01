package workload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// byOwner is the index of objects by their controller, or by their namespace
// where they have none.
const byOwner = "carob-workload-owner"

// IndexByOwner adds the index to an informer, once for all controllers.
func IndexByOwner(i cache.SharedIndexInformer) error {
	if _, ok := i.GetIndexer().GetIndexers()[byOwner]; ok {
		return nil
	}
	return i.AddIndexers(cache.Indexers{byOwner: func(obj any) ([]string, error) {
		o, ok := obj.(metav1.Object)
		if !ok {
			return nil, nil
		}
		if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
			return []string{string(ref.UID)}, nil
		}
		return []string{"/" + o.GetNamespace()}, nil
	}})
}

// ByNode is the index of pods by the node that they are bound to.
const ByNode = "carob-workload-node"

// IndexByNode adds that index to the informer of pods, once for all controllers.
func IndexByNode(pods cache.SharedIndexInformer) error {
	if _, ok := pods.GetIndexer().GetIndexers()[ByNode]; ok {
		return nil
	}
	return pods.AddIndexers(cache.Indexers{ByNode: func(obj any) ([]string, error) {
		if p, ok := obj.(*corev1.Pod); ok && p.Spec.NodeName != "" {
			return []string{p.Spec.NodeName}, nil
		}
		return nil, nil
	}})
}

// OwnedBy returns the objects that the owner controls.
func OwnedBy[T metav1.Object](index cache.Indexer, owner types.UID) ([]T, error) {
	return indexed[T](index, string(owner))
}

// OwnedOrOrphaned returns those and the ones of its namespace that nobody
// controls.
func OwnedOrOrphaned[T metav1.Object](index cache.Indexer, owner metav1.Object) ([]T, error) {
	mine, err := indexed[T](index, string(owner.GetUID()))
	if err != nil {
		return nil, err
	}
	orphans, err := indexed[T](index, "/"+owner.GetNamespace())
	return append(mine, orphans...), err
}

func indexed[T metav1.Object](index cache.Indexer, key string) ([]T, error) {
	found, err := index.ByIndex(byOwner, key)
	if err != nil {
		return nil, fmt.Errorf("index by owner: %w", err)
	}
	out := make([]T, 0, len(found))
	for _, o := range found {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out, nil
}

// Key is the key of an object in queues and caches.
func Key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// Handler wakes the owners of pods, or of other objects that owners claim.
type Handler[T metav1.Object] struct {
	// Kind is that of the owners.
	Kind schema.GroupKind
	// Pending may be nil; it is told of pods that come and go.
	Pending *Pending
	// Wake is called with the key of an owner.
	Wake func(key string)
	// Orphan, if not nil, is called with an object that nobody controls.
	Orphan func(T)
}

// Funcs are what the informer calls.
func (h Handler[T]) Funcs() cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if o, ok := obj.(T); ok {
				h.seen(o)
				h.wake(o)
			}
		},
		UpdateFunc: func(oldObj, obj any) {
			was, okOld := oldObj.(T)
			o, ok := obj.(T)
			if !ok || !okOld || was.GetResourceVersion() == o.GetResourceVersion() {
				return
			}
			a, b := metav1.GetControllerOfNoCopy(was), metav1.GetControllerOfNoCopy(o)
			if a != nil && (b == nil || a.UID != b.UID) {
				h.wake(was)
			}
			h.seen(o)
			h.wake(o)
		},
		DeleteFunc: func(obj any) {
			if o, ok := Last[T](obj); ok && metav1.GetControllerOfNoCopy(o) != nil {
				h.gone(o)
				h.wake(o)
			}
		},
	}
}

func (h Handler[T]) seen(o T) {
	ref := metav1.GetControllerOfNoCopy(o)
	if h.Pending == nil || ref == nil {
		return
	}
	h.Pending.Created(ref.UID, o.GetName())
	if o.GetDeletionTimestamp() != nil {
		h.Pending.Deleted(ref.UID, o.GetUID())
	}
}

func (h Handler[T]) gone(o T) {
	if ref := metav1.GetControllerOfNoCopy(o); h.Pending != nil && ref != nil {
		h.Pending.Created(ref.UID, o.GetName())
		h.Pending.Deleted(ref.UID, o.GetUID())
	}
}

func (h Handler[T]) wake(o T) {
	ref := metav1.GetControllerOfNoCopy(o)
	if ref == nil {
		if h.Orphan != nil {
			h.Orphan(o)
		}
		return
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err == nil && ref.Kind == h.Kind.Kind && gv.Group == h.Kind.Group {
		h.Wake(o.GetNamespace() + "/" + ref.Name)
	}
}

// Owners calls wake with the key of every owner that appears, changes or goes.
func Owners(wake func(key string)) cache.ResourceEventHandlerFuncs {
	call := func(obj any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
			wake(key)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: call, DeleteFunc: call,
		UpdateFunc: func(was, obj any) {
			a, okA := was.(metav1.Object)
			b, okB := obj.(metav1.Object)
			if !okA || !okB || a.GetResourceVersion() != b.GetResourceVersion() {
				call(obj)
			}
		},
	}
}

// Last returns an object as an informer hands it over: as it is, or, where its
// end was missed, as it was last seen. ok is false for another kind.
func Last[T any](obj any) (o T, ok bool) {
	if lost, missed := obj.(cache.DeletedFinalStateUnknown); missed {
		obj = lost.Obj
	}
	o, ok = obj.(T)
	return o, ok
}

// InNamespace returns the objects of a namespace.
func InNamespace[T any](index cache.Indexer, namespace string) []T {
	found, err := index.ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil // informers have this index
	}
	out := make([]T, 0, len(found))
	for _, obj := range found {
		if o, ok := obj.(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// Watched is an informer and who is told of what it sees.
type Watched struct {
	Informer cache.SharedIndexInformer
	Handler  cache.ResourceEventHandler
}

// Watch adds the handlers, and returns what Synced waits for.
func Watch(all ...Watched) ([]cache.DoneChecker, error) {
	synced := make([]cache.DoneChecker, 0, len(all))
	for _, w := range all {
		reg, err := w.Informer.AddEventHandler(w.Handler)
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		synced = append(synced, reg.HasSyncedChecker())
	}
	return synced, nil
}

// Adopters returns those in the namespace of o whose selector finds it. A
// selector that is nil or selects everything finds nothing here.
func Adopters[T metav1.Object](index cache.Indexer, o metav1.Object, selector func(T) *metav1.LabelSelector) []T {
	var out []T
	for _, owner := range InNamespace[T](index, o.GetNamespace()) {
		s, err := metav1.LabelSelectorAsSelector(selector(owner))
		if err == nil && !s.Empty() && s.Matches(labels.Set(o.GetLabels())) {
			out = append(out, owner)
		}
	}
	return out
}

// Synced waits until all informers have told what there is; false means that
// ctx ended first.
func Synced(ctx context.Context, all []cache.DoneChecker) bool {
	for _, s := range all {
		select {
		case <-s.Done():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// PodsOf narrows pods to those for which keep says so.
func PodsOf(pods []*corev1.Pod, keep func(*corev1.Pod) bool) []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(pods))
	for _, p := range pods {
		if keep(p) {
			out = append(out, p)
		}
	}
	return out
}
