package tainteviction

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

const (
	workers = 4
	// reason is that of all events.
	reason = "TaintManagerEviction"
)

// Options are what a Controller needs.
type Options struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller deletes pods that taints drive off their nodes.
type Controller struct {
	client   kubernetes.Interface
	recorder record.EventRecorder
	pods     cache.Indexer
	nodes    cache.Indexer
	synced   []cache.DoneChecker
	ready    chan struct{}
	queue    *work.Queue[string]
	memory   memory
	log      *zap.Logger
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Client == nil || o.Informers == nil || o.Recorder == nil {
		return nil, errors.New("tainteviction: no client, no informers or no recorder")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	pods, nodes := o.Informers.Core().V1().Pods().Informer(), o.Informers.Core().V1().Nodes().Informer()
	c := &Controller{
		client: o.Client, recorder: o.Recorder, pods: pods.GetIndexer(), nodes: nodes.GetIndexer(),
		ready: make(chan struct{}), queue: work.New[string](o.Log), log: o.Log,
	}
	if err := workload.IndexByNode(pods); err != nil {
		return nil, fmt.Errorf("tainteviction: index pods: %w", err)
	}
	var err error
	c.synced, err = workload.Watch(
		workload.Watched{Informer: pods, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: c.wake, DeleteFunc: c.wake,
			UpdateFunc: func(was, now any) {
				if matters(was, now) {
					c.wake(now)
				}
			},
		}},
		workload.Watched{Informer: nodes, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(now any) { c.nodeChanged(nil, now) },
			UpdateFunc: c.nodeChanged,
			DeleteFunc: func(was any) { c.nodeChanged(was, nil) },
		}},
	)
	if err != nil {
		return nil, fmt.Errorf("tainteviction: %w", err)
	}
	return c, nil
}

// wake has a pod looked at that has a node. One that is gone is looked at to be
// forgotten: only the worker that has its key may do so.
func (c *Controller) wake(obj any) {
	if p, ok := workload.Last[*corev1.Pod](obj); ok && p.Spec.NodeName != "" {
		c.queue.Add(workload.Key(p))
	}
}

// matters says whether something changed that Decide looks at.
func matters(was, now any) bool {
	a, okA := was.(*corev1.Pod)
	b, okB := now.(*corev1.Pod)
	if !okA || !okB {
		return false
	}
	return a.UID != b.UID || a.Spec.NodeName != b.Spec.NodeName || workload.Active(a) != workload.Active(b) ||
		!arrival(a).Equal(arrival(b)) || !apiequality.Semantic.DeepEqual(a.Spec.Tolerations, b.Spec.Tolerations)
}

// nodeChanged wakes the pods of a node whose NoExecute taints are others now.
func (c *Controller) nodeChanged(was, now any) {
	var name string
	taints := func(obj any) []corev1.Taint {
		n, ok := workload.Last[*corev1.Node](obj)
		if !ok {
			return nil
		}
		name = n.Name
		return expelling(n)
	}
	if apiequality.Semantic.DeepEqual(taints(was), taints(now)) {
		return
	}
	keys, err := c.pods.IndexKeys(workload.ByNode, name)
	if err != nil {
		return // New has made this index
	}
	for _, key := range keys {
		c.queue.Add(key)
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

// Ready is closed when the controller knows all pods and nodes.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// sync does what is due for one pod, or has itself called when it will be.
func (c *Controller) sync(ctx context.Context, key string) error {
	obj, exists, err := c.pods.GetByKey(key)
	p, ok := obj.(*corev1.Pod)
	if err != nil || !exists || !ok {
		c.memory.forget(key, "")
		return err
	}
	n, err := c.node(p.Spec.NodeName)
	if err != nil {
		return err
	}
	// Where the node is gone, the pod is no matter of taints any more.
	if n == nil || !workload.Active(p) {
		c.memory.forget(key, p.UID)
		return nil
	}
	taints := expelling(n)
	if len(taints) == 0 {
		if c.memory.forget(key, p.UID) {
			c.cancelled(p)
		}
		return nil
	}
	now := time.Now()
	s := c.memory.note(key, p.UID, taints, now)
	if s.deleted {
		return nil
	}
	switch d := Decide(p, taints, s.since, now); {
	case !d.Evict:
		if s.planned {
			s.planned = false
			c.cancelled(p)
		}
	case d.In > 0:
		c.plan(p, s, d.In)
	default:
		return c.evict(ctx, p, s)
	}
	return nil
}

// node is nil if there is no such node.
func (c *Controller) node(name string) (*corev1.Node, error) {
	obj, exists, err := c.nodes.GetByKey(name)
	if err != nil || !exists {
		return nil, err
	}
	n, _ := obj.(*corev1.Node)
	return n, nil
}

func (c *Controller) plan(p *corev1.Pod, s *stay, in time.Duration) {
	if !s.planned {
		s.planned = true
		c.log.Info("pod will be deleted because of a taint", about(p, zap.Duration("in", in))...)
	}
	c.queue.AddAfter(workload.Key(p), in)
}

func (c *Controller) cancelled(p *corev1.Pod) {
	c.log.Info("pod stays in spite of a taint", about(p)...)
	c.recorder.Eventf(p, corev1.EventTypeNormal, reason, "Cancelling deletion of Pod %s", workload.Key(p))
}

// evict says in the pod's status why it goes, and deletes it. That it is gone,
// or another one by now, is just as well.
func (c *Controller) evict(ctx context.Context, p *corev1.Pod, s *stay) error {
	err := c.announce(ctx, p)
	if err == nil {
		err = c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
		if apierrors.IsConflict(err) {
			return nil
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("evict pod %s: %w", workload.Key(p), err)
	}
	s.deleted = true
	c.log.Info("pod deleted because of a taint", about(p)...)
	c.recorder.Eventf(p, corev1.EventTypeNormal, reason, "Marking for deletion Pod %s", workload.Key(p))
	return nil
}

// announce sets the pod's condition DisruptionTarget. A conflict says that the
// cache is behind, and is tried again.
func (c *Controller) announce(ctx context.Context, p *corev1.Pod) error {
	cond, changed := disruption(p, time.Now())
	if !changed {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{cond}},
	})
	if err != nil {
		return fmt.Errorf("encode the condition: %w", err)
	}
	_, err = c.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return workload.Outdated(err)
}

func about(p *corev1.Pod, more ...zap.Field) []zap.Field {
	return append([]zap.Field{
		zap.String("pod", workload.Key(p)), zap.String("uid", string(p.UID)), zap.String("node", p.Spec.NodeName),
	}, more...)
}
