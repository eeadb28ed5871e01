package localvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"github.com/carob-project/carob/pkg/claim"
	"github.com/carob-project/carob/pkg/controller/work"
	"github.com/carob-project/carob/pkg/controller/workload"
)

// Options are what a Loop needs.
type Options struct {
	Client kubernetes.Interface
	Node   string
	Dirs   Dirs
	// Log may be nil.
	Log *zap.Logger
}

// key names a claim, or, without a namespace, a volume.
type key struct{ namespace, name string }

// Loop serves the volumes of one node.
type Loop struct {
	o                        Options
	factory                  informers.SharedInformerFactory
	claims, volumes, classes cache.Indexer
	synced                   []cache.DoneChecker
	queue                    *work.Queue[key]
	events                   record.EventBroadcaster
	recorder                 record.EventRecorder
	ready                    chan struct{}
}

// New makes a Loop; Run starts it.
func New(o Options) (*Loop, error) {
	if o.Client == nil || o.Node == "" || o.Dirs.Root == "" {
		return nil, errors.New("localvolume: no client, no node or no directory")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	l := &Loop{o: o, factory: informers.NewSharedInformerFactory(o.Client, 0), queue: work.New[key](o.Log), ready: make(chan struct{})}
	core := l.factory.Core().V1()
	claims, volumes, classes := core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer(), l.factory.Storage().V1().StorageClasses().Informer()
	l.claims, l.volumes, l.classes = claims.GetIndexer(), volumes.GetIndexer(), classes.GetIndexer()
	look := func(obj any) {
		switch o := obj.(type) {
		case *corev1.PersistentVolumeClaim:
			l.queue.Add(key{o.Namespace, o.Name})
		case *corev1.PersistentVolume:
			l.queue.Add(key{name: o.Name})
			if ref := o.Spec.ClaimRef; ref != nil {
				l.queue.Add(key{ref.Namespace, ref.Name})
			}
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: look, UpdateFunc: func(_, now any) { look(now) }}
	var err error
	if l.synced, err = workload.Watch(
		workload.Watched{Informer: claims, Handler: handler},
		workload.Watched{Informer: volumes, Handler: handler},
		workload.Watched{Informer: classes, Handler: handler},
	); err != nil {
		return nil, fmt.Errorf("localvolume: %w", err)
	}
	return l, nil
}

// Ready is closed when the loop knows what exists.
func (l *Loop) Ready() <-chan struct{} { return l.ready }

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	l.events = record.NewBroadcaster(record.WithContext(ctx))
	l.events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: l.o.Client.CoreV1().Events("")})
	defer l.events.Shutdown()
	l.recorder = l.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: claim.Provisioner, Host: l.o.Node})
	l.factory.Start(ctx.Done())
	defer l.factory.Shutdown()
	if !workload.Synced(ctx, l.synced) {
		return nil
	}
	if err := l.o.Dirs.sweep(); err != nil {
		l.o.Log.Warn("cannot remove what a probe has left", zap.Error(err))
	}
	close(l.ready)
	l.queue.Run(ctx, 1, l.sync)
	return nil
}

func (l *Loop) sync(ctx context.Context, k key) error {
	var err error
	if k.namespace == "" {
		err = l.syncVolume(ctx, k.name)
	} else {
		err = l.syncClaim(ctx, k)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return workload.Outdated(err)
}

func (l *Loop) syncClaim(ctx context.Context, k key) error {
	c := get[corev1.PersistentVolumeClaim](l.claims, k.namespace+"/"+k.name)
	if c == nil {
		return nil
	}
	if c.Spec.VolumeName != "" {
		return l.grow(ctx, c, get[corev1.PersistentVolume](l.volumes, c.Spec.VolumeName))
	}
	class := get[storagev1.StorageClass](l.classes, storagevolume.GetPersistentVolumeClaimClass(c))
	if Nodeless(c) && class != nil {
		l.recorder.Eventf(c, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: "+
			"its volumes are directories of a node and no pod says of which one; use a class with volumeBindingMode WaitForFirstConsumer", class.Name)
		return nil
	}
	at, err := l.place(ctx, c)
	if err != nil {
		return err
	}
	v := Wanted(c, class, at)
	if v == nil || get[corev1.PersistentVolume](l.volumes, v.Name) != nil {
		return nil
	}
	l.recorder.Eventf(c, corev1.EventTypeNormal, "Provisioning", "External provisioner is provisioning volume for claim %q", c.Namespace+"/"+c.Name)
	_, err = l.o.Client.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		l.recorder.Eventf(c, corev1.EventTypeWarning, "ProvisioningFailed", "failed to provision volume with StorageClass %q: %v", class.Name, err)
		return err
	}
	l.recorder.Eventf(c, corev1.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", v.Name)
	return nil
}

// place is this node, if the claim's volume is to be made on it.
func (l *Loop) place(ctx context.Context, c *corev1.PersistentVolumeClaim) (Place, error) {
	at := Place{Node: l.o.Node, Root: l.o.Dirs.Root}
	if c.Annotations[storagevolume.AnnSelectedNode] != l.o.Node {
		return at, nil
	}
	node, err := l.o.Client.CoreV1().Nodes().Get(ctx, l.o.Node, metav1.GetOptions{})
	if err != nil {
		return at, err
	}
	at.Hostname, at.Enforced = node.Labels[corev1.LabelHostname], l.o.Dirs.Enforced()
	return at, nil
}

func (l *Loop) syncVolume(ctx context.Context, name string) error {
	v := get[corev1.PersistentVolume](l.volumes, name)
	if v == nil {
		return nil
	}
	api := l.o.Client.CoreV1().PersistentVolumes()
	fate := FateOf(v, l.o.Node)
	switch fate {
	case Keep:
		return nil
	case Delete:
		return api.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID, ResourceVersion: &v.ResourceVersion}})
	case Remove:
		if err := l.o.Dirs.Remove(v); err != nil {
			l.recorder.Event(v, corev1.EventTypeWarning, "VolumeFailedDelete", err.Error())
			return err
		}
	}
	next := v.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == claim.Finalizer })
	_, err := api.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

func (l *Loop) grow(ctx context.Context, c *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	g := Grow(c, v, l.o.Node, metav1.Now())
	claims := l.o.Client.CoreV1().PersistentVolumeClaims(c.Namespace)
	switch {
	case g.Begin != nil:
		l.recorder.Eventf(c, corev1.EventTypeNormal, "Resizing", "External resizer is resizing volume %s", v.Name)
		_, err := claims.UpdateStatus(ctx, g.Begin, metav1.UpdateOptions{})
		return err
	case g.Volume != nil:
		if err := l.o.Dirs.Resize(g.Volume); err != nil {
			l.recorder.Eventf(c, corev1.EventTypeWarning, "VolumeResizeFailed", "resize volume %q failed: %v", v.Name, err)
			return err
		}
		_, err := l.o.Client.CoreV1().PersistentVolumes().Update(ctx, g.Volume, metav1.UpdateOptions{})
		return err
	case g.Done != nil:
		if _, err := claims.UpdateStatus(ctx, g.Done, metav1.UpdateOptions{}); err != nil {
			return err
		}
		l.recorder.Event(c, corev1.EventTypeNormal, "VolumeResizeSuccessful", "Resize volume succeeded")
	}
	return nil
}

func get[T any](from cache.Indexer, key string) *T {
	obj, exists, err := from.GetByKey(key)
	if o, ok := obj.(*T); err == nil && exists && ok {
		return o
	}
	return nil
}
