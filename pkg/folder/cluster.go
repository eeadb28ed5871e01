package folder

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/carob-project/carob/pkg/controller/resources"
)

// Cluster is what is needed of an API server. API is one.
type Cluster interface {
	// Served returns what the API server serves now.
	Served() (resources.Set, error)
	// Look returns the metadata of an object, past every cache.
	Look(ctx context.Context, r resources.Resource, key Key) (*metav1.PartialObjectMetadata, error)
	// Apply writes a document as a member of a set. force takes fields from
	// others; dry only finds out whether it could.
	Apply(ctx context.Context, d *Document, set string, force, dry bool) (*metav1.PartialObjectMetadata, error)
	// Delete deletes the member as it was seen, and nothing else.
	Delete(ctx context.Context, m Member) error
	// List returns the members of a set of one kind; all of a namespace where
	// the set is empty.
	List(ctx context.Context, r resources.Resource, namespace, set string) ([]metav1.PartialObjectMetadata, error)
	// Follow tells seen of every member of a kind that is there or changes, and
	// gone of those that are gone. It returns when it has told of all that
	// there are, and goes on until ctx ends and Wait returns. An empty set
	// means all objects.
	Follow(ctx context.Context, r resources.Resource, set string, seen, gone func(*metav1.PartialObjectMetadata)) (wait func(), err error)
}

// API is an API server.
type API struct {
	Discovery discovery.DiscoveryInterface
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
}

// Served implements Cluster.
func (a API) Served() (resources.Set, error) {
	if c, ok := a.Discovery.(discovery.CachedDiscoveryInterface); ok {
		c.Invalidate()
	}
	return resources.Discover(a.Discovery)
}

func (a API) metadata(r resources.Resource, namespace string) metadata.ResourceInterface {
	if r.Namespaced {
		return a.Metadata.Resource(r.GVR).Namespace(namespace)
	}
	return a.Metadata.Resource(r.GVR)
}

// Look implements Cluster.
func (a API) Look(ctx context.Context, r resources.Resource, key Key) (*metav1.PartialObjectMetadata, error) {
	return a.metadata(r, key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}

// Apply implements Cluster.
func (a API) Apply(ctx context.Context, d *Document, set string, force, dry bool) (*metav1.PartialObjectMetadata, error) {
	data, err := json.Marshal(marked(d, set))
	if err != nil {
		return nil, err
	}
	o := metav1.PatchOptions{FieldManager: Manager, FieldValidation: metav1.FieldValidationStrict, Force: &force}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	var client dynamic.ResourceInterface = a.Dynamic.Resource(d.Resource.GVR)
	if d.Resource.Namespaced {
		client = a.Dynamic.Resource(d.Resource.GVR).Namespace(d.Namespace)
	}
	is, err := client.Patch(ctx, d.Name, types.ApplyPatchType, data, o)
	if err != nil {
		return nil, err
	}
	// Only what is common to all kinds is of interest.
	text, err := json.Marshal(map[string]any{"metadata": is.Object["metadata"]})
	if err != nil {
		return nil, err
	}
	out := &metav1.PartialObjectMetadata{}
	return out, json.Unmarshal(text, out)
}

// marked is the document with what makes it a member.
func marked(d *Document, set string) map[string]any {
	out := maps.Clone(d.Content)
	meta, _ := out["metadata"].(map[string]any)
	meta = maps.Clone(meta)
	out["metadata"] = meta
	if d.Resource.Namespaced {
		meta["namespace"] = d.Namespace
	}
	add := func(field string, all map[string]any) {
		texts, _ := meta[field].(map[string]any)
		if texts = maps.Clone(texts); texts == nil {
			texts = map[string]any{}
		}
		maps.Copy(texts, all)
		meta[field] = texts
	}
	add("labels", map[string]any{LabelPartOf: set})
	add("annotations", map[string]any{AnnotationFile: d.File, AnnotationHash: d.Hash})
	return out
}

// Delete implements Cluster.
func (a API) Delete(ctx context.Context, m Member) error {
	uid := types.UID(m.UID)
	policy := metav1.DeletePropagationBackground
	return a.metadata(m.Resource, m.Namespace).Delete(ctx, m.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &m.ResourceVersion}, PropagationPolicy: &policy,
	})
}

func selector(set string) string {
	if set == "" {
		return ""
	}
	return LabelPartOf + "=" + set
}

// List implements Cluster.
func (a API) List(ctx context.Context, r resources.Resource, namespace, set string) ([]metav1.PartialObjectMetadata, error) {
	list, err := a.metadata(r, namespace).List(ctx, metav1.ListOptions{LabelSelector: selector(set)})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return list.Items, nil
}

// Follow implements Cluster.
func (a API) Follow(ctx context.Context, r resources.Resource, set string, seen, gone func(*metav1.PartialObjectMetadata)) (func(), error) {
	informer := metadatainformer.NewFilteredMetadataInformer(a.Metadata, r.GVR, metav1.NamespaceAll, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = selector(set) }).Informer()
	call := func(f func(*metav1.PartialObjectMetadata), obj any) {
		if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = lost.Obj
		}
		if o, ok := obj.(*metav1.PartialObjectMetadata); ok {
			f(o)
		}
	}
	reg, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { call(seen, obj) },
		UpdateFunc: func(was, obj any) {
			a, okA := was.(*metav1.PartialObjectMetadata)
			b, okB := obj.(*metav1.PartialObjectMetadata)
			if okA && okB && a.UID != b.UID {
				gone(a)
			}
			call(seen, obj)
		},
		DeleteFunc: func(obj any) { call(gone, obj) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", r.GVR, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	select {
	case <-reg.HasSyncedChecker().Done():
	case <-ctx.Done():
	}
	return func() { <-done }, nil
}
