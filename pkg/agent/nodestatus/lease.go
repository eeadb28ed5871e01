package nodestatus

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaseBeats is for how many heartbeats a lease stays valid: three may fail.
const leaseBeats = 4

// renewLease renews the node's Lease until ctx ends, once the Node exists: with
// each status, one of which is due at the same time, so that both are one write
// to the disk.
func (r *Reporter) renewLease(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-r.registered:
	}
	select {
	case <-r.wrote: // the first one
	default:
	}
	var held *coordinationv1.Lease
	retry := time.Second
	for {
		wait := r.o.Heartbeat + r.o.Interval
		l, err := r.renewOnce(ctx, held)
		if err != nil {
			// Whatever is wrong with the copy at hand, read it anew.
			held = nil
			wait = min(retry, r.o.Heartbeat)
			retry = min(2*retry, time.Minute)
			if ctx.Err() == nil {
				r.o.Log.Debug("the node's lease cannot be renewed", zap.Error(err), zap.Duration("retry", wait))
			}
		} else {
			held, retry = l, time.Second
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.wrote:
			t.Stop()
		case <-t.C:
		}
	}
}

func (r *Reporter) renewOnce(ctx context.Context, held *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	leases := r.o.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	if held == nil {
		l, err := leases.Get(ctx, r.o.Identity.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
				Name: r.o.Identity.Name, Namespace: corev1.NamespaceNodeLease,
			}}
			r.fill(ctx, l)
			created, err := leases.Create(ctx, l, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("making the lease: %w", err)
			}
			return created, nil
		case err != nil:
			return nil, fmt.Errorf("reading the lease: %w", err)
		}
		held = l
	}
	l := held.DeepCopy()
	r.fill(ctx, l)
	l, err := leases.Update(ctx, l, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("renewing the lease: %w", err)
	}
	return l, nil
}

// fill sets the lease's spec and makes it belong to the Node, where that
// exists already.
func (r *Reporter) fill(ctx context.Context, l *coordinationv1.Lease) {
	name := r.o.Identity.Name
	seconds := int32(min(leaseBeats*r.o.Heartbeat/time.Second, 1<<30)) //nolint:gosec // bounded
	now := metav1.NewMicroTime(r.o.Clock())
	l.Spec.HolderIdentity = &name
	l.Spec.LeaseDurationSeconds = &seconds
	l.Spec.RenewTime = &now
	if len(l.OwnerReferences) > 0 {
		return
	}
	n, err := r.o.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return
	}
	l.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: name, UID: n.UID,
	}}
}
