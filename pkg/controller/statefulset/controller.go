// Package statefulset keeps the numbered pods of a StatefulSet. What it decides
// is pure: plan.go, revisions.go.
package statefulset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/revision"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const workers = 4

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller keeps StatefulSets.
type Controller struct {
	client                kubernetes.Interface
	hands                 *workload.Hands
	sets, revisions, pods cache.Indexer
	claims                cache.Indexer
	synced                []cache.DoneChecker
	ready                 chan struct{}
	queue                 *work.Queue[string]
	// written are the versions that this controller wrote.
	written workload.Written
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("statefulset: no client, no informers or no recorder")
	}
	apps := o.Informers.Apps().V1()
	sets, revisions, pods := apps.StatefulSets().Informer(), apps.ControllerRevisions().Informer(), o.Informers.Core().V1().Pods().Informer()
	claims := o.Informers.Core().V1().PersistentVolumeClaims().Informer()
	c := &Controller{
		client: o.Client, claims: claims.GetIndexer(),
		hands: &workload.Hands{Client: o.Client, Recorder: o.Recorder, Pending: workload.NewPending(), Message: message},
		sets:  sets.GetIndexer(), revisions: revisions.GetIndexer(), pods: pods.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log),
	}
	for _, i := range []cache.SharedIndexInformer{revisions, pods} {
		if err := workload.IndexByOwner(i); err != nil {
			return nil, fmt.Errorf("statefulset: %w", err)
		}
	}
	kind := controllerKind().GroupKind()
	var err error
	if c.synced, err = workload.Watch(
		workload.Watched{Informer: sets, Handler: workload.Owners(c.queue.Add)},
		workload.Watched{Informer: revisions, Handler: workload.Handler[*appsv1.ControllerRevision]{Kind: kind, Wake: c.queue.Add}.Funcs()},
		workload.Watched{Informer: pods, Handler: workload.Handler[*corev1.Pod]{Kind: kind, Pending: c.hands.Pending, Wake: c.queue.Add, Orphan: c.orphan}.Funcs()},
		workload.Watched{Informer: claims, Handler: cache.ResourceEventHandlerFuncs{AddFunc: c.claimChanged, UpdateFunc: func(_, now any) { c.claimChanged(now) }, DeleteFunc: c.claimChanged}},
	); err != nil {
		return nil, fmt.Errorf("statefulset: %w", err)
	}
	return c, nil
}

// message is what events say about a pod.
func message(verb string, set workload.Owner, pod *corev1.Pod, err error) string {
	if err != nil {
		return fmt.Sprintf("%s Pod %s in StatefulSet %s failed error: %s", verb, pod.Name, set.GetName(), err)
	}
	return fmt.Sprintf("%s Pod %s in StatefulSet %s successful", verb, pod.Name, set.GetName())
}

// orphan wakes the set that may adopt the pod.
func (c *Controller) orphan(p *corev1.Pod) {
	for _, set := range workload.Adopters(c.sets, p, func(o *appsv1.StatefulSet) *metav1.LabelSelector { return o.Spec.Selector }) {
		if Ordinal(set.Name, p.Name) >= 0 {
			c.queue.Add(workload.Key(set))
		}
	}
}

// claimChanged wakes the sets whose claim it may be: what they wait for may have
// gone, or been made.
func (c *Controller) claimChanged(obj any) {
	p, ok := workload.Last[*corev1.PersistentVolumeClaim](obj)
	if !ok {
		return
	}
	for _, set := range workload.InNamespace[*appsv1.StatefulSet](c.sets, p.Namespace) {
		for i := range set.Spec.VolumeClaimTemplates {
			if strings.HasPrefix(p.Name, set.Spec.VolumeClaimTemplates[i].Name+"-"+set.Name+"-") {
				c.queue.Add(workload.Key(set))
			}
		}
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
	if err != nil || !exists {
		c.written.Forget(key)
		return err
	}
	set, ok := obj.(*appsv1.StatefulSet)
	if !ok || c.written.Stale(set) {
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
	h, done, err := c.revise(ctx, set, revisions)
	if done || err != nil {
		return workload.Outdated(err)
	}
	current, update, err := templates(h)
	if err != nil {
		return err
	}
	plan := Decide(set, pods, current, update, set.Status.CollisionCount, time.Now())
	back := follow(set, pods, revisions, h.Latest, &plan, time.Now())
	failure := c.carryOut(ctx, set, plan, pods)
	if err := c.writeStatus(ctx, set, plan.Status, back.Annotations); err != nil {
		return workload.Outdated(err)
	}
	if err := c.rollBack(ctx, set, back); err != nil {
		return workload.Outdated(err)
	}
	if failure != nil {
		return workload.Outdated(failure)
	}
	if set.DeletionTimestamp == nil {
		if err := revision.Delete(ctx, c.client, excess(set, revisions, pods, h)); err != nil {
			return err
		}
	}
	if plan.After > 0 {
		c.queue.AddAfter(key, plan.After)
	}
	return nil
}

func templates(h history) (current, update Revision, err error) {
	if update.Template, err = revision.Template(h.Latest); err != nil {
		return
	}
	current.Template, err = revision.Template(h.Current)
	current.Name, update.Name = h.Current.Name, h.Latest.Name
	return
}

// claim returns the pods that are the set's; a pod of another name is not.
func (c *Controller) claim(ctx context.Context, set *appsv1.StatefulSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, err
	}
	all, err := workload.OwnedOrOrphaned[*corev1.Pod](c.pods, set)
	if err != nil {
		return nil, err
	}
	all = workload.PodsOf(all, func(p *corev1.Pod) bool { return Ordinal(set.Name, p.Name) >= 0 })
	return workload.Settle(ctx, set, *metav1.NewControllerRef(set, controllerKind()), workload.Claim(set, selector, all),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().StatefulSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		}, c.hands.PatchPod)
}

// revise makes or renumbers the revision of the set's template. done says that
// the rest waits for the status, which has been written.
func (c *Controller) revise(ctx context.Context, set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (history, bool, error) {
	h, err := revise(set, all)
	if err != nil || set.DeletionTimestamp != nil {
		return h, false, err
	}
	collided, err := revision.Keep(ctx, c.client, ownerOf(set), h.History)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return h, true, nil
	case err != nil || !collided:
		return h, false, err
	}
	status := *set.Status.DeepCopy()
	status.CollisionCount = ptr.To(ptr.Deref(status.CollisionCount, 0) + 1)
	return h, true, c.writeStatus(ctx, set, status, nil)
}

func (c *Controller) carryOut(ctx context.Context, set *appsv1.StatefulSet, p Plan, pods []*corev1.Pod) error {
	if set.DeletionTimestamp == nil && len(set.Spec.VolumeClaimTemplates) > 0 {
		if err := c.ownClaims(ctx, set, pods); err != nil {
			return err
		}
	}
	for _, pod := range p.Create {
		if err := c.makeClaims(ctx, set, pod); err != nil {
			return err
		}
		if err := c.hands.Create(ctx, set, pod); err != nil {
			return err
		}
	}
	for _, pod := range p.Relabel {
		if _, err := c.client.CoreV1().Pods(pod.Namespace).Update(ctx, pod, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return c.hands.Delete(ctx, set, p.Delete)
}

func (c *Controller) writeStatus(ctx context.Context, set *appsv1.StatefulSet, s appsv1.StatefulSetStatus, annotations map[string]string) error {
	if annotations == nil {
		annotations = set.Annotations
	}
	if apiequality.Semantic.DeepEqual(s, set.Status) && maps.Equal(annotations, set.Annotations) {
		return nil
	}
	out := set.DeepCopy()
	out.Status, out.Annotations = s, annotations
	now, err := c.client.AppsV1().StatefulSets(set.Namespace).UpdateStatus(ctx, out, metav1.UpdateOptions{})
	switch {
	case err == nil:
		c.written.Note(now)
	case apierrors.IsNotFound(err):
		return nil
	}
	return err
}
