package namespace

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// empty deletes what the namespace holds. While there are pods only they are
// deleted: they may need the rest until they end.
func (c *Controller) empty(ctx context.Context, name string) Outcome {
	set, err := resources.Discover(c.client.Discovery())
	out := Outcome{Discovery: err}
	var rest []resources.Resource
	for _, r := range set.Preferred() {
		switch {
		case !r.Namespaced || !r.Can("list", "delete"):
		case r.GVR.GroupResource() == schema.GroupResource{Resource: "pods"}:
			c.emptyOf(ctx, name, r, &out)
		default:
			rest = append(rest, r)
		}
	}
	if len(out.Remaining) > 0 || len(out.Deletion) > 0 {
		return out
	}
	for _, r := range rest {
		c.emptyOf(ctx, name, r, &out)
	}
	return out
}

// emptyOf deletes the objects of one resource and adds to out what remains.
func (c *Controller) emptyOf(ctx context.Context, name string, r resources.Resource, out *Outcome) {
	fail := func(err error) {
		if !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			out.Deletion = append(out.Deletion, fmt.Errorf("%s: %w", r.GVR.GroupResource(), err))
		}
	}
	items, err := c.list(ctx, name, r)
	if err != nil {
		fail(err)
		return
	}
	if slices.ContainsFunc(items, func(o metav1.PartialObjectMetadata) bool { return o.DeletionTimestamp == nil }) {
		if err := c.deleteAll(ctx, name, r, items); err != nil {
			fail(err)
		}
		if items, err = c.list(ctx, name, r); err != nil {
			fail(err)
			return
		}
	}
	if len(items) == 0 {
		return
	}
	left := Remaining{Resource: r.GVR.GroupResource(), Count: len(items), Finalizers: map[string]int{}}
	for i := range items {
		for _, f := range items[i].Finalizers {
			left.Finalizers[f]++
		}
	}
	out.Remaining = append(out.Remaining, left)
}

func (c *Controller) list(ctx context.Context, name string, r resources.Resource) ([]metav1.PartialObjectMetadata, error) {
	list, err := c.metadata.Resource(r.GVR).Namespace(name).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// deleteAll asks for the deletion of all items, each with its own grace.
func (c *Controller) deleteAll(ctx context.Context, name string, r resources.Resource, items []metav1.PartialObjectMetadata) error {
	client := c.metadata.Resource(r.GVR).Namespace(name)
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if r.Can("deletecollection") {
		return client.DeleteCollection(ctx, options, metav1.ListOptions{})
	}
	for i := range items {
		if err := client.Delete(ctx, items[i].Name, options); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
