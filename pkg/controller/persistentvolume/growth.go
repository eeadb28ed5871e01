package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/controller/work"
)

// What is told of a claim whose volume somebody else has to make larger, which
// is true of all volumes here.
const (
	reasonExternalExpanding  = "ExternalExpanding"
	messageExternalExpanding = "waiting for an external controller to expand this PVC"
)

// growing says whether a bound claim asks for more than it has.
func growing(c *corev1.PersistentVolumeClaim) bool {
	return c.Status.Phase == corev1.ClaimBound && c.Spec.Resources.Requests.Storage().Cmp(*c.Status.Capacity.Storage()) > 0
}

// mayGrow looks at a claim that has appeared.
func (c *Controller) mayGrow(obj any) {
	if p, ok := obj.(*corev1.PersistentVolumeClaim); ok && growing(p) {
		c.growing.Add(key{p.Namespace, p.Name})
	}
}

// grown looks at a claim that asks for more than before, or got more: once each
// time, as in Kubernetes.
func (c *Controller) grown(old, now any) {
	before, ok1 := old.(*corev1.PersistentVolumeClaim)
	p, ok2 := now.(*corev1.PersistentVolumeClaim)
	if ok1 && ok2 && (p.Spec.Resources.Requests.Storage().Cmp(*before.Spec.Resources.Requests.Storage()) > 0 ||
		p.Status.Capacity.Storage().Cmp(*before.Status.Capacity.Storage()) > 0) {
		c.mayGrow(p)
	}
}

// tellGrowth tells that a claim waits to grow.
func (c *Controller) tellGrowth(_ context.Context, k key) error {
	p := c.claimOf(k.namespace, k.name)
	if p == nil || !growing(p) {
		return nil
	}
	obj, exists, err := c.newVolumes.GetByKey(p.Spec.VolumeName)
	if err != nil {
		return err
	}
	v, ok := obj.(*corev1.PersistentVolume)
	if !exists || !ok || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.Namespace != p.Namespace || v.Spec.ClaimRef.UID != p.UID {
		return fmt.Errorf("%w: the volume of claim %s/%s is not bound to it", work.ErrWaiting, k.namespace, k.name)
	}
	c.growth.Event(p, corev1.EventTypeNormal, reasonExternalExpanding, messageExternalExpanding)
	return nil
}
