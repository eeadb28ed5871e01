// Package daemonset keeps one pod of a DaemonSet on each node that suits. What
// it decides is pure: plan.go, roll.go, nodes.go.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/rollback"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 2

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps DaemonSets.
type Controller struct {
	client                       kubernetes.Interface
	recorder                     record.EventRecorder
	hands                        *workload.Hands
	sets, revisions, pods, nodes cache.Indexer
	synced                       []cache.DoneChecker
	ready                        chan struct{}
	queue                        *work.Queue[string]
	written                      workload.Written

	mu       sync.Mutex
	failures map[types.UID]Failures
}

func controllerKind() schema.GroupVersionKind { return appsv1.SchemeGroupVersion.WithKind("DaemonSet") }

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("daemonset: no client, no informers or no recorder")
	}
	apps, core := o.Informers.Apps().V1(), o.Informers.Core().V1()
	sets, revisions := apps.DaemonSets().Informer(), apps.ControllerRevisions().Informer()
	pods, nodes := core.Pods().Informer(), core.Nodes().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder,
		hands: &workload.Hands{Client: o.Client, Recorder: o.Recorder, Pending: workload.NewPending()},
		sets:  sets.GetIndexer(), revisions: revisions.GetIndexer(), pods: pods.GetIndexer(), nodes: nodes.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log), failures: map[types.UID]Failures{},
	}
	for _, i := range []cache.SharedIndexInformer{revisions, pods} {
		if err := workload.IndexByOwner(i); err != nil {
			return nil, fmt.Errorf("daemonset: %w", err)
		}
	}
	kind := controllerKind().GroupKind()
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: sets, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: sets, Handler: cache.ResourceEventHandlerFuncs{DeleteFunc: c.setGone}},
		workload.Watched{Informer: revisions, Handler: workload.Handler[*appsv1.ControllerRevision]{Kind: kind, Wake: c.queue.Add}.Funcs()},
		workload.Watched{Informer: pods, Handler: workload.Handler[*corev1.Pod]{Kind: kind, Pending: c.hands.Pending, Wake: c.queue.Add, Orphan: c.orphan}.Funcs()},
		workload.Watched{Informer: nodes, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { c.wakeAll() }, DeleteFunc: func(any) { c.wakeAll() }, UpdateFunc: c.nodeChanged,
		}},
	); err != nil {
		return nil, fmt.Errorf("daemonset: %w", err)
	}
	return c, nil
}

func (c *Controller) wakeAll() {
	for _, key := range c.sets.ListKeys() {
		c.queue.Add(key)
	}
}

// nodeChanged looks at all sets if what places a pod has changed; the status
// of a node does not.
func (c *Controller) nodeChanged(was, now any) {
	a, okA := was.(*corev1.Node)
	b, okB := now.(*corev1.Node)
	if okA && okB && apiequality.Semantic.DeepEqual(a.Labels, b.Labels) && apiequality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) {
		return
	}
	c.wakeAll()
}

func (c *Controller) setGone(obj any) {
	if set, ok := workload.Last[*appsv1.DaemonSet](obj); ok {
		c.hands.Pending.Forget(set.UID)
		c.remember(set.UID, nil)
	}
}

// orphan wakes the sets that may adopt the pod.
func (c *Controller) orphan(p *corev1.Pod) {
	for _, o := range workload.Adopters(c.sets, p, func(o *appsv1.DaemonSet) *metav1.LabelSelector { return o.Spec.Selector }) {
		c.queue.Add(workload.Key(o))
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	if !workload.Synced(ctx, c.synced) {
		return nil
	}
	close(c.ready)
	c.queue.Run(ctx, workers, c.sync)
	return nil
}

// Ready is closed when the controller knows what exists.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.sets.GetByKey(key)
	set, ok := obj.(*appsv1.DaemonSet)
	if err != nil || !exists || !ok {
		c.written.Forget(key)
		return err
	}
	if c.written.Stale(set) {
		return nil
	}
	if wait := c.hands.Pending.Wait(set.UID); wait > 0 {
		c.queue.AddAfter(key, wait)
		return nil
	}
	pods, err := c.claim(ctx, set)
	if err != nil {
		return err
	}
	revisions, err := workload.OwnedBy[*appsv1.ControllerRevision](c.revisions, set.UID)
	if err != nil {
		return err
	}
	latest, done, err := c.revise(ctx, set, revisions)
	if done || err != nil {
		return workload.Outdated(err)
	}
	p := Decide(Input{
		Set: set, Pods: pods, Nodes: c.allNodes(), Hash: latest.Labels[hashLabel], Failures: c.recall(set.UID), Now: time.Now(),
	})
	back := follow(set, pods, revisions, latest, &p, time.Now())
	if err := c.carryOut(ctx, set, p, back.Annotations); err != nil {
		return workload.Outdated(err)
	}
	if err := c.rollBack(ctx, set, back); err != nil {
		return workload.Outdated(err)
	}
	if set.DeletionTimestamp == nil {
		if err := revision.Delete(ctx, c.client, excess(set, revisions, pods, latest)); err != nil {
			return err
		}
	}
	if p.After > 0 {
		c.queue.AddAfter(key, p.After)
	}
	return nil
}

func (c *Controller) allNodes() []*corev1.Node {
	var nodes []*corev1.Node
	for _, obj := range c.nodes.List() {
		if n, ok := obj.(*corev1.Node); ok {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

func (c *Controller) claim(ctx context.Context, set *appsv1.DaemonSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, err
	}
	all, err := workload.OwnedOrOrphaned[*corev1.Pod](c.pods, set)
	if err != nil {
		return nil, err
	}
	return workload.Settle(ctx, set, *metav1.NewControllerRef(set, controllerKind()), workload.Claim(set, selector, all),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		}, c.hands.PatchPod)
}

func ownerOf(set *appsv1.DaemonSet) revision.Owner {
	return revision.Owner{
		Object: set, Kind: controllerKind(), Template: &set.Spec.Template, Label: hashLabel,
		Hash: func([]byte) string { return workload.Hash(&set.Spec.Template, set.Status.CollisionCount) },
	}
}

// revise finds or makes the revision of the set's template. done says that the
// rest waits for the status, which has been written.
func (c *Controller) revise(ctx context.Context, set *appsv1.DaemonSet, all []*appsv1.ControllerRevision) (latest *appsv1.ControllerRevision, done bool, err error) {
	h, err := revision.Find(ownerOf(set), all)
	if err != nil || set.DeletionTimestamp != nil {
		return h.Latest, false, err
	}
	collided, err := revision.Keep(ctx, c.client, ownerOf(set), h)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return h.Latest, true, nil
	case err != nil || !collided:
		return h.Latest, false, err
	}
	status := *set.Status.DeepCopy()
	status.CollisionCount = ptr.To(ptr.Deref(status.CollisionCount, 0) + 1)
	return h.Latest, true, c.writeStatus(ctx, set, status, nil)
}

// excess returns the oldest revisions beyond the limit that no pod is of.
func excess(set *appsv1.DaemonSet, all []*appsv1.ControllerRevision, pods []*corev1.Pod, latest *appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	hashes := map[string]bool{}
	for _, p := range pods {
		hashes[p.Labels[hashLabel]] = true
	}
	live := map[string]bool{latest.Name: true}
	if returns(set) {
		live[set.Annotations[rollback.AnnotationComplete]] = true
	}
	for _, r := range all {
		if hashes[r.Labels[hashLabel]] {
			live[r.Name] = true
		}
	}
	return revision.Excess(all, live, int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)))
}

func (c *Controller) carryOut(ctx context.Context, set *appsv1.DaemonSet, p Plan, annotations map[string]string) error {
	workload.Record(c.recorder, set, p.Events)
	c.remember(set.UID, p.Failures)
	failure := c.hands.Delete(ctx, set, p.Delete)
	if failure == nil {
		_, failure = c.hands.MakeAll(ctx, set, p.Create)
	}
	if err := c.writeStatus(ctx, set, p.Status, annotations); err != nil {
		return err
	}
	return failure
}

func (c *Controller) writeStatus(ctx context.Context, set *appsv1.DaemonSet, s appsv1.DaemonSetStatus, annotations map[string]string) error {
	if annotations == nil {
		annotations = set.Annotations
	}
	if apiequality.Semantic.DeepEqual(s, set.Status) && maps.Equal(annotations, set.Annotations) {
		return nil
	}
	out := set.DeepCopy()
	out.Status, out.Annotations = s, annotations
	now, err := c.client.AppsV1().DaemonSets(set.Namespace).UpdateStatus(ctx, out, metav1.UpdateOptions{})
	switch {
	case err == nil:
		c.written.Note(now)
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}

func (c *Controller) recall(set types.UID) Failures {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures[set]
}

func (c *Controller) remember(set types.UID, f Failures) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(f) == 0 {
		delete(c.failures, set)
	} else {
		c.failures[set] = f
	}
}
