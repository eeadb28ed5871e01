// Package garbage deletes objects whose owners are gone, and serves the two
// finalizers of deletion: foregroundDeletion and orphan.
//
// Graph and Decide are pure: observed objects go in, what to do with one of
// them comes out. The Controller feeds them from watches, makes sure of every
// owner by asking the API server before it deletes anything, and carries the
// decision out. The package must not know any kind of object by name.
package garbage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/lru"

	"github.com/carob-project/carob/pkg/controller/resources"
	"github.com/carob-project/carob/pkg/controller/work"
)

const (
	workers = 8
	// absentCache is how many UIDs of absent owners are remembered, so that
	// the dependents of one owner cost one request and not one each.
	absentCache = 1000
)

// Options are what a Controller needs.
type Options struct {
	Metadata metadata.Interface
	// Monitors must not have been started yet.
	Monitors *resources.Monitors
	// Recorder may be nil.
	Recorder record.EventRecorder
	// Log may be nil.
	Log *zap.Logger
}

// Controller is the garbage collector.
type Controller struct {
	metadata metadata.Interface
	monitors *resources.Monitors
	recorder record.EventRecorder
	log      *zap.Logger
	queue    *work.Queue[types.UID]
	// absent has owners that were looked up and do not exist. A UID never
	// comes back.
	absent *lru.Cache

	mu    sync.Mutex
	graph *Graph
}

// New makes a Controller; Run starts it.
func New(o Options) (*Controller, error) {
	if o.Metadata == nil || o.Monitors == nil {
		return nil, errors.New("garbage: no metadata client or no monitors")
	}
	c := &Controller{
		metadata: o.Metadata,
		monitors: o.Monitors,
		recorder: o.Recorder,
		log:      o.Log,
		absent:   lru.New(absentCache),
		graph:    NewGraph(),
	}
	if c.log == nil {
		c.log = zap.NewNop()
	}
	c.queue = work.New[types.UID](c.log)
	o.Monitors.Subscribe(c)
	return c, nil
}

// Run collects until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	c.queue.Run(ctx, workers, c.examine)
	return nil
}

// Ready is closed when the collector knows all objects.
func (c *Controller) Ready() <-chan struct{} { return c.monitors.Ready() }

// Observe implements resources.Handler.
func (c *Controller) Observe(r resources.Resource, o *metav1.PartialObjectMetadata) {
	c.mu.Lock()
	due := c.graph.Set(NodeOf(r, o))
	c.mu.Unlock()
	c.add(due)
}

// Gone implements resources.Handler.
func (c *Controller) Gone(_ resources.Resource, o *metav1.PartialObjectMetadata) {
	c.mu.Lock()
	due := c.graph.Remove(o.UID)
	c.mu.Unlock()
	c.add(due)
}

func (c *Controller) add(uids []types.UID) {
	for _, uid := range uids {
		c.queue.Add(uid)
	}
}

// examine looks at one object and does what it calls for.
func (c *Controller) examine(ctx context.Context, uid types.UID) error {
	// Dependents that are not known yet could be neither orphaned nor
	// waited for.
	if err := c.monitors.Settle(ctx); err != nil {
		return err
	}
	n, due := c.mayCallForAction(uid)
	if !due {
		return nil
	}
	live, err := c.client(n).Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && live.UID != n.UID {
		return nil // the watch will tell
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", n, err)
	}
	// The decision is about the object as it is now; every write that
	// follows carries its version.
	n = NodeOf(n.Resource, live)
	states, certain, err := c.resolve(ctx, n)
	if err != nil {
		return err
	}
	c.mu.Lock()
	d := c.graph.decide(n, states)
	c.mu.Unlock()
	err = c.apply(ctx, n, live, d)
	if err != nil && !apierrors.IsConflict(err) {
		return err
	}
	if err != nil || !certain {
		return work.ErrWaiting
	}
	return nil
}

// mayCallForAction sorts out, without a request, what is as it should be.
func (c *Controller) mayCallForAction(uid types.UID) (Node, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, known := c.graph.Get(uid)
	if !known {
		return Node{}, false
	}
	states := make([]OwnerState, 0, len(n.Owners))
	for _, ref := range n.Owners {
		state, certain := c.graph.Owner(n, ref)
		if !certain && !n.Deleting {
			return n, true
		}
		states = append(states, state)
	}
	d := c.graph.decide(n, states)
	c.add(d.Examine)
	return n, d.Verb != Keep
}

// resolve returns the state of each owner of n. certain is false where an owner
// exists that no watch has shown: nothing would tell if it went.
func (c *Controller) resolve(ctx context.Context, n Node) (states []OwnerState, certain bool, err error) {
	certain = true
	if n.Deleting {
		return make([]OwnerState, len(n.Owners)), true, nil
	}
	for _, ref := range n.Owners {
		c.mu.Lock()
		state, observed := c.graph.Owner(n, ref)
		c.mu.Unlock()
		if !observed {
			if state, err = c.lookUp(ctx, n, ref); err != nil {
				return nil, false, err
			}
			certain = certain && state == OwnerAbsent
		}
		states = append(states, state)
	}
	return states, certain, nil
}

// lookUp asks the API server for an owner of n.
func (c *Controller) lookUp(ctx context.Context, n Node, ref metav1.OwnerReference) (OwnerState, error) {
	key := absentKey{ref: coordinates(ref), namespace: n.Namespace}
	if _, gone := c.absent.Get(key); gone {
		return OwnerAbsent, nil
	}
	r, served := c.monitors.Set().ForKind(ref.APIVersion, ref.Kind)
	if !served {
		c.monitors.Refresh()
		return OwnerUnresolvable, nil
	}
	c.warnForeign(n, ref, r)
	owner := Node{Resource: r, Namespace: n.Namespace, Name: ref.Name}
	if !r.Namespaced {
		owner.Namespace = ""
	} else if n.Namespace == "" {
		return OwnerUnresolvable, nil
	}
	live, err := c.client(owner).Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && live.UID != ref.UID {
		c.absent.Add(key, nil)
		return OwnerAbsent, nil
	}
	if err != nil {
		return 0, fmt.Errorf("get owner %s of %s: %w", owner, n, err)
	}
	return StateOf(NodeOf(r, live)), nil
}

// absentKey is an owner as seen from a namespace.
type absentKey struct {
	ref       metav1.OwnerReference
	namespace string
}

// coordinates returns the parts of a reference that say what it means.
func coordinates(ref metav1.OwnerReference) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name, UID: ref.UID}
}

// warnForeign records that a reference crosses a border it cannot cross.
func (c *Controller) warnForeign(n Node, ref metav1.OwnerReference, owner resources.Resource) {
	c.mu.Lock()
	_, foreign := c.graph.Foreign(n, ref)
	c.mu.Unlock()
	if c.recorder == nil || !owner.Namespaced || !foreign && n.Namespace != "" {
		return
	}
	message := fmt.Sprintf("ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		ref.APIVersion, ref.Kind, n.Namespace, ref.Name, ref.UID, n.Namespace)
	if n.Namespace == "" {
		message = fmt.Sprintf("ownerRef [%s/%s, name: %s, uid: %s] is of a namespaced kind and cannot own a cluster-scoped object",
			ref.APIVersion, ref.Kind, ref.Name, ref.UID)
	}
	c.recorder.Event(&corev1.ObjectReference{
		APIVersion: n.Resource.GVR.GroupVersion().String(), Kind: n.Resource.Kind,
		Namespace: n.Namespace, Name: n.Name, UID: n.UID,
	}, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", message)
}

func (c *Controller) client(n Node) metadata.ResourceInterface {
	r := c.metadata.Resource(n.Resource.GVR)
	if n.Resource.Namespaced {
		return r.Namespace(n.Namespace)
	}
	return r
}

// String names the object in logs and errors.
func (n Node) String() string {
	if n.Namespace == "" {
		return n.Resource.GVR.Resource + " " + n.Name
	}
	return n.Resource.GVR.Resource + " " + n.Namespace + "/" + n.Name
}
