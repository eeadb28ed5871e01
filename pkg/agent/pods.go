package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/agent/nodestatus"
	"github.com/carob-project/carob/pkg/eviction"
	"github.com/carob-project/carob/pkg/pod"
)

var errNotSynced = errors.New("the pods were not listed")

// watchPods gives every pod that is bound to this node a worker, and returns
// when those that are there now have theirs.
func (a *Agent) watchPods(ctx context.Context, wg *sync.WaitGroup) error {
	informer := coreinformers.NewFilteredPodInformer(a.o.Client, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.o.NodeName).String()
		})
	if err := informer.SetTransform(slim); err != nil {
		return err
	}
	wg.Go(func() { informer.RunWithContext(ctx) })
	own := a.watchOwnNode(ctx, wg)
	if !cache.WaitFor(ctx, "", informer.HasSyncedChecker(), own) {
		if ctx.Err() != nil {
			return nil
		}
		return errNotSynced
	}
	a.readAllocatable(ctx)
	a.takeUp(ctx, wg, informer.GetStore().List())
	a.settle()

	reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { a.seen(ctx, wg, obj) },
		UpdateFunc: func(old, obj any) { a.replaced(old, obj); a.seen(ctx, wg, obj) },
		DeleteFunc: a.unseen,
	})
	if err != nil {
		return err
	}
	cache.WaitFor(ctx, "", reg.HasSyncedChecker())
	return nil
}

// slim drops what the agent has no use for, before the cache keeps it.
func slim(obj any) (any, error) {
	if p, ok := obj.(*corev1.Pod); ok {
		p.ManagedFields = nil
	}
	return obj, nil
}

// readAllocatable learns what the node can give to pods, for admission.
func (a *Agent) readAllocatable(ctx context.Context) {
	f, err := a.o.Machine.Facts(ctx)
	if err != nil {
		a.log.Warn("the machine cannot be read; pods are admitted unseen", zap.Error(err))
		return
	}
	a.memory.Store(f.MemoryTotal)
	if a.o.Bounds != nil {
		a.bound(f)
	}
	a.learn(f)
}

func (a *Agent) learn(f nodestatus.Facts) {
	st := a.identity.Status(corev1.NodeStatus{}, nodestatus.Reading{Facts: f}, metav1.NewTime(a.clock()))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.allocatable = st.Allocatable
}

// learning has the agent know what the node's status is about to say, such as
// huge pages that were set aside just now: a pod may be sent here for it.
type learning struct{ a *Agent }

// Facts implements nodestatus.Source.
func (l learning) Facts(ctx context.Context) (nodestatus.Facts, error) {
	f, err := l.a.o.Machine.Facts(ctx)
	if err == nil {
		l.a.learn(f)
	}
	return f, err
}

// takeUp begins with the pods that are there when the agent starts. Those
// that were admitted before keep their place before those that were not.
func (a *Agent) takeUp(ctx context.Context, wg *sync.WaitGroup, objs []any) {
	var pods []*corev1.Pod
	for _, o := range objs {
		if p, ok := o.(*corev1.Pod); ok {
			pods = append(pods, p)
		}
	}
	admissionOrder(pods, a.isHere)
	for _, p := range pods {
		a.seen(ctx, wg, p)
	}
}

// isHere says whether the node has admitted the pod before.
func (a *Agent) isHere(p *corev1.Pod) bool {
	if p.Status.StartTime != nil {
		return true
	}
	attempts, _ := a.view.cached(p.UID)
	if len(attempts) > 0 {
		return true
	}
	sb, err := a.o.SandboxView.Get(p.UID)
	return err == nil && sb != nil
}

// seen takes in a pod as the API has it now.
func (a *Agent) seen(ctx context.Context, wg *sync.WaitGroup, obj any) {
	p, ok := obj.(*corev1.Pod)
	if !ok || p.Spec.NodeName != a.o.NodeName {
		return
	}
	a.status.saw(p)
	a.stages.saw(p)
	if w := a.worker(p.UID); w != nil {
		w.update(p)
		return
	}
	attempts, _ := a.view.cached(p.UID) // none known: as the status says
	grant := pod.Granted(p, attempts)
	w := newWorker(a, p, a.admit(ctx, grant.Apply(p)))
	w.granted.grant = grant
	a.mu.Lock()
	a.workers[p.UID] = w
	a.names[nameOf(p)] = p.UID
	a.mu.Unlock()
	wg.Go(func() { w.run(ctx) })
}

// replaced takes in that a name belongs to another pod now, whose deletion the
// watch has missed.
func (a *Agent) replaced(old, now any) {
	o, ok1 := old.(*corev1.Pod)
	n, ok2 := now.(*corev1.Pod)
	if ok1 && ok2 && o.UID != n.UID {
		a.unseen(o)
	}
}

// unseen takes in that a pod is gone from the API. What it was admitted for is
// free at once, as the scheduler has given it away already, though its last
// containers may still be ending.
func (a *Agent) unseen(obj any) {
	if d, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = d.Obj
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return
	}
	a.release(p.UID)
	a.status.lost(p.UID)
	if w := a.worker(p.UID); w != nil {
		w.lost(p, a.clock())
	}
}

// admit decides whether the node takes the pod, and counts it in if so.
func (a *Agent) admit(ctx context.Context, p *corev1.Pod) *pod.Eviction {
	if terminal(p.Status.Phase) {
		return nil
	}
	here := a.isHere(p)
	var node *corev1.Node
	if !here {
		node = a.ownNode(ctx, choosesNodes(p))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !here && p.DeletionTimestamp == nil {
		if why := eviction.Refusal(p, pod.QOSClass(p), a.pressure); why != "" {
			return rejected(pod.ReasonEvicted, why)
		}
		if ev := Admit(p, a.others(p.UID), node, a.allocatable); ev != nil {
			return ev
		}
		if reason, why := pod.ForbiddenModules(p, a.o.Modules); why != "" {
			return rejected(reason, why)
		}
	}
	a.admitted[p.UID] = p
	return nil
}

// release gives back what a pod that has ended was admitted for.
func (a *Agent) release(uid types.UID) {
	a.mu.Lock()
	_, had := a.admitted[uid]
	delete(a.admitted, uid)
	a.mu.Unlock()
	if had {
		a.retryResizes()
	}
}

// forget drops a worker that is done.
func (a *Agent) forget(w *worker) {
	uid := w.ref.UID
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.workers, uid)
	delete(a.admitted, uid)
	name := types.NamespacedName{Namespace: w.ref.Namespace, Name: w.ref.Name}
	if a.names[name] == uid {
		delete(a.names, name)
	}
	a.status.forget(uid)
	a.stages.forget(uid)
	w.log.Debug("nothing of the pod is left")
}

func nameOf(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}

// sleep waits, and says whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
