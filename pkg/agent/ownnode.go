package agent

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// nodeTimeout bounds the look at the own Node.
const nodeTimeout = 5 * time.Second

// watchOwnNode keeps the node's own object at hand for ownNode, which is not to
// be called before. It returns what says that it is there, if it exists.
func (a *Agent) watchOwnNode(ctx context.Context, wg *sync.WaitGroup) cache.DoneChecker {
	informer := coreinformers.NewFilteredNodeInformer(a.o.Client, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, a.o.NodeName).String()
	})
	a.ownNodes = informer.GetStore()
	wg.Go(func() { informer.RunWithContext(ctx) })
	return informer.HasSyncedChecker()
}

// ownNode returns the node's own object, as it was seen last or, where fresh is
// asked for, as it is; nil where it cannot be had: then the scheduler's word
// counts.
func (a *Agent) ownNode(ctx context.Context, fresh bool) *corev1.Node {
	if !fresh {
		obj, _, _ := a.ownNodes.GetByKey(a.o.NodeName) // a store in memory does not fail
		n, _ := obj.(*corev1.Node)
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	n, err := a.o.Client.CoreV1().Nodes().Get(ctx, a.o.NodeName, metav1.GetOptions{})
	if err != nil {
		a.log.Warn("the Node cannot be read; a pod is admitted without a look at its labels", zap.Error(err))
		return nil
	}
	return n
}
