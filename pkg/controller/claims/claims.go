// Package claims is what the controllers of claims share: the index of pods by
// the claims they use.
package claims

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const byClaim = "carob-claim"

// Index adds the index to an informer of pods, once for all controllers.
func Index(pods cache.SharedIndexInformer) error {
	if _, ok := pods.GetIndexer().GetIndexers()[byClaim]; ok {
		return nil
	}
	return pods.AddIndexers(cache.Indexers{byClaim: func(obj any) ([]string, error) {
		p, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, nil
		}
		var keys []string
		for _, name := range claim.Names(p) {
			keys = append(keys, p.Namespace+"/"+name)
		}
		return keys, nil
	}})
}

// Named are the pods that name the claim, whether it is the one that they are
// to have or another of that name.
func Named(pods cache.Indexer, c *corev1.PersistentVolumeClaim) []*corev1.Pod {
	found, err := pods.ByIndex(byClaim, c.Namespace+"/"+c.Name)
	if err != nil {
		return nil
	}
	var out []*corev1.Pod
	for _, obj := range found {
		if p, ok := obj.(*corev1.Pod); ok {
			out = append(out, p)
		}
	}
	return out
}

// Users are the pods that use the claim.
func Users(pods cache.Indexer, c *corev1.PersistentVolumeClaim) []*corev1.Pod {
	return workload.PodsOf(Named(pods, c), func(p *corev1.Pod) bool { return claim.Uses(p, c) })
}

// Funcs calls f with the newest version of whatever happened to an object.
func Funcs(f func(any)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{AddFunc: f, UpdateFunc: func(_, now any) { f(now) }, DeleteFunc: func(obj any) {
		if last, ok := workload.Last[any](obj); ok {
			f(last)
		}
	}}
}
