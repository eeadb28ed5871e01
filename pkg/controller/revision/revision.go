// Package revision keeps the history of a workload's template in
// ControllerRevisions. What it finds is pure; Keep alone writes. It must know
// no kind of workload.
package revision

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// maxPrefix leaves room for the hash in a revision's name.
const maxPrefix = 223

// Owner is the workload whose history is kept.
type Owner struct {
	Object   metav1.Object
	Kind     schema.GroupVersionKind
	Template *corev1.PodTemplateSpec
	// Hash names the template in the form in which it is stored. Label is the
	// key under which the revision has it.
	Hash  func(data []byte) string
	Label string
}

// History is what the revisions of an owner come to.
type History struct {
	// Create is the revision to be made, Bump the one to be made the latest by
	// raising its number.
	Create, Bump *appsv1.ControllerRevision
	// Latest is the revision of the owner's template: one of those two, or one
	// that is the latest already.
	Latest *appsv1.ControllerRevision
}

// encode returns the template in the form of a patch of its owner: kubectl
// applies it when a rollout is undone.
func encode(t *corev1.PodTemplateSpec) ([]byte, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// Template returns the template of a revision.
func Template(r *appsv1.ControllerRevision) (corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return corev1.PodTemplateSpec{}, fmt.Errorf("revision %s: %w", r.Name, err)
	}
	return patch.Spec.Template, nil
}

func (o Owner) revision(number int64) (*appsv1.ControllerRevision, error) {
	data, err := encode(o.Template)
	if err != nil {
		return nil, err
	}
	hash, name := o.Hash(data), o.Object.GetName()
	labels := maps.Clone(o.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[o.Label] = hash
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Object.GetNamespace(), Name: name[:min(len(name), maxPrefix)] + "-" + hash,
			Labels: labels, Annotations: maps.Clone(o.Object.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(o.Object, o.Kind)},
		},
		Revision: number,
	}
	r.Data.Raw = data
	return r, nil
}

func byNumber(a, b *appsv1.ControllerRevision) int {
	if a.Revision != b.Revision {
		return int(max(-1, min(1, a.Revision-b.Revision)))
	}
	return strings.Compare(a.Name, b.Name)
}

// Find finds the revision of the owner's template among all that it has.
func Find(o Owner, all []*appsv1.ControllerRevision) (History, error) {
	all = slices.SortedFunc(slices.Values(all), byNumber)
	var h History
	next := int64(1)
	if n := len(all); n > 0 {
		next = all[n-1].Revision + 1
	}
	want, err := o.revision(next)
	if err != nil {
		return h, err
	}
	for i, r := range slices.Backward(all) {
		t, err := Template(r)
		if err != nil {
			return h, err
		}
		if !bytes.Equal(r.Data.Raw, want.Data.Raw) && !workload.SameTemplate(&t, o.Template, "") {
			continue
		}
		h.Latest = r
		if i != len(all)-1 {
			h.Bump = r.DeepCopy()
			h.Bump.Revision, h.Latest = next, h.Bump
		}
		return h, nil
	}
	h.Create, h.Latest = want, want
	return h, nil
}

// ByName returns revisions by their names.
func ByName(all []*appsv1.ControllerRevision) map[string]*appsv1.ControllerRevision {
	out := map[string]*appsv1.ControllerRevision{}
	for _, r := range all {
		out[r.Name] = r
	}
	return out
}

// Excess returns the oldest of those that are not live, beyond the limit.
func Excess(all []*appsv1.ControllerRevision, live map[string]bool, limit int) []*appsv1.ControllerRevision {
	idle := slices.DeleteFunc(slices.SortedFunc(slices.Values(all), byNumber),
		func(r *appsv1.ControllerRevision) bool { return live[r.Name] })
	return idle[:max(len(idle)-limit, 0)]
}

// Keep makes or renumbers the latest revision. collided says that another one
// has its name: the owner has to count that, and to try again.
func Keep(ctx context.Context, c kubernetes.Interface, o Owner, h History) (collided bool, err error) {
	client := c.AppsV1().ControllerRevisions(o.Object.GetNamespace())
	switch {
	case h.Bump != nil:
		_, err = client.Update(ctx, h.Bump, metav1.UpdateOptions{})
		return false, err
	case h.Create == nil:
		return false, nil
	}
	if _, err = client.Create(ctx, h.Create, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return false, err
	}
	is, err := client.Get(ctx, h.Create.Name, metav1.GetOptions{})
	if err != nil {
		return false, err
	}
	// The same one was made a moment ago.
	same := metav1.IsControlledBy(is, o.Object) && bytes.Equal(is.Data.Raw, h.Create.Data.Raw)
	return !same, nil
}

// Delete removes revisions; one that is gone already is no failure.
func Delete(ctx context.Context, c kubernetes.Interface, revisions []*appsv1.ControllerRevision) error {
	for _, r := range revisions {
		err := c.AppsV1().ControllerRevisions(r.Namespace).Delete(ctx, r.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &r.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Client reads and writes the workloads of one kind in a namespace.
type Client[T metav1.Object] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	Update(ctx context.Context, object T, o metav1.UpdateOptions) (T, error)
}

// Restore gives a workload the template of a revision, by change, and returns
// what was written. ok is false where nothing was: there is no revision to
// restore, or the user has changed the workload since it was read.
func Restore[T metav1.Object](ctx context.Context, api Client[T], of T, r *appsv1.ControllerRevision, change func(T, corev1.PodTemplateSpec)) (now T, ok bool, err error) {
	if r == nil {
		return now, false, nil
	}
	template, err := Template(r)
	if err != nil {
		return now, false, err
	}
	now, err = api.Get(ctx, of.GetName(), metav1.GetOptions{})
	if err != nil || now.GetUID() != of.GetUID() || now.GetGeneration() != of.GetGeneration() {
		return now, false, err
	}
	change(now, template)
	now, err = api.Update(ctx, now, metav1.UpdateOptions{})
	return now, err == nil, err
}
