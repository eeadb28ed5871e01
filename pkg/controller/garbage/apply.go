package garbage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// apply carries a decision about live out.
func (c *Controller) apply(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, d Decision) error {
	c.add(d.Examine)
	switch d.Verb {
	case Delete:
		return c.delete(ctx, n, live, d)
	case DropOwners:
		return c.dropOwners(ctx, n, live, d.Owners)
	case Orphan:
		return c.orphan(ctx, n, live, d.Dependents)
	case Release:
		return c.dropFinalizer(ctx, n, live, metav1.FinalizerDeleteDependents)
	}
	return nil
}

// delete deletes the object as long as it is the one that was decided about: an
// owner written into it meanwhile keeps it.
func (c *Controller) delete(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, d Decision) error {
	c.log.Info("deleting an object without owners", zap.Stringer("object", n), zap.String("uid", string(n.UID)), zap.String("policy", string(d.Policy)))
	err := c.client(n).Delete(ctx, n.Name, metav1.DeleteOptions{
		PropagationPolicy: &d.Policy,
		Preconditions:     &metav1.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", n, err)
	}
	return nil
}

// orphan frees the dependents from their owner, and then the owner.
func (c *Controller) orphan(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, dependents []types.UID) error {
	for _, uid := range dependents {
		c.mu.Lock()
		dep, known := c.graph.Get(uid)
		c.mu.Unlock()
		if !known {
			continue
		}
		depLive, err := c.client(dep).Get(ctx, dep.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && depLive.UID != uid {
			continue
		}
		if err != nil {
			return fmt.Errorf("get %s: %w", dep, err)
		}
		if err := c.dropOwners(ctx, dep, depLive, []types.UID{n.UID}); err != nil {
			return err
		}
	}
	return c.dropFinalizer(ctx, n, live, metav1.FinalizerOrphanDependents)
}

func (c *Controller) dropOwners(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, owners []types.UID) error {
	left := slices.DeleteFunc(slices.Clone(live.OwnerReferences), func(ref metav1.OwnerReference) bool {
		return slices.Contains(owners, ref.UID)
	})
	if len(left) == len(live.OwnerReferences) {
		return nil
	}
	return c.patch(ctx, n, live, map[string]any{"ownerReferences": left})
}

func (c *Controller) dropFinalizer(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, name string) error {
	left := slices.DeleteFunc(slices.Clone(live.Finalizers), func(f string) bool { return f == name })
	if len(left) == len(live.Finalizers) {
		return nil
	}
	err := c.patch(ctx, n, live, map[string]any{"finalizers": left})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patch replaces lists in the object's metadata, provided that nobody has
// changed the object since it was read.
func (c *Controller) patch(ctx context.Context, n Node, live *metav1.PartialObjectMetadata, fields map[string]any) error {
	fields["uid"] = live.UID
	fields["resourceVersion"] = live.ResourceVersion
	body, err := json.Marshal(map[string]any{"metadata": fields})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = c.client(n).Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("patch %s: %w", n, err)
	}
	return nil
}
