package agent

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// source is an object that volumes may show.
type source struct{ kind, namespace, name string }

const (
	kindConfigMap = "ConfigMap"
	kindSecret    = "Secret"
)

// watchSources has the volumes of pods brought up to date as soon as a
// ConfigMap or a Secret in them changes. Every change after it has returned is
// seen; what changed before, the volumes have from the start. Only names are
// kept: whoever writes a volume reads what the API has at that moment.
func (a *Agent) watchSources(ctx context.Context, wg *sync.WaitGroup) error {
	f := informers.NewSharedInformerFactoryWithOptions(a.o.Client, 0, informers.WithTransform(nameOnly))
	all := map[string]cache.SharedIndexInformer{
		kindConfigMap: f.Core().V1().ConfigMaps().Informer(), kindSecret: f.Core().V1().Secrets().Informer(),
	}
	var synced []cache.DoneChecker
	for kind, i := range all {
		tell := func(obj any) {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if m, ok := obj.(metav1.Object); ok {
				a.sourceChanged(source{kind, m.GetNamespace(), m.GetName()})
			}
		}
		reg, err := i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(obj any, found bool) {
				if !found {
					tell(obj)
				}
			},
			UpdateFunc: func(_, obj any) { tell(obj) },
			DeleteFunc: tell,
		})
		if err != nil {
			return err
		}
		synced = append(synced, reg.HasSyncedChecker())
	}
	f.StartWithContext(ctx)
	wg.Go(f.Shutdown)
	if !cache.WaitFor(ctx, "", synced...) && ctx.Err() == nil {
		return errNotSynced
	}
	return nil
}

// nameOnly keeps of an object what says which one it is, and when it changed.
func nameOnly(obj any) (any, error) {
	m, ok := obj.(metav1.Object)
	if !ok {
		return obj, nil
	}
	is := metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUID(), ResourceVersion: m.GetResourceVersion()}
	if _, ok := obj.(*corev1.Secret); ok {
		return &corev1.Secret{ObjectMeta: is}, nil
	}
	return &corev1.ConfigMap{ObjectMeta: is}, nil
}

// sourceChanged has the volumes that show s brought up to date.
func (a *Agent) sourceChanged(s source) {
	for _, w := range a.allWorkers() {
		if w.ref.Namespace == s.namespace {
			w.sourceChanged(s)
		}
	}
}

func (w *worker) sourceChanged(s source) {
	w.mu.Lock()
	uses := slices.ContainsFunc(w.pod.Spec.Volumes, func(v corev1.Volume) bool { return s.isIn(v) })
	w.outdated = w.outdated || uses
	w.mu.Unlock()
	if uses {
		w.poke()
	}
}

// isIn says whether a volume shows s.
func (s source) isIn(v corev1.Volume) bool {
	switch {
	case v.ConfigMap != nil:
		return s.is(kindConfigMap, v.ConfigMap.Name)
	case v.Secret != nil:
		return s.is(kindSecret, v.Secret.SecretName)
	case v.Projected != nil:
		return slices.ContainsFunc(v.Projected.Sources, func(p corev1.VolumeProjection) bool {
			return p.ConfigMap != nil && s.is(kindConfigMap, p.ConfigMap.Name) ||
				p.Secret != nil && s.is(kindSecret, p.Secret.Name)
		})
	}
	return false
}

func (s source) is(kind, name string) bool { return s.kind == kind && s.name == name }
