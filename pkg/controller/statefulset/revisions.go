package statefulset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// maxPrefix leaves room for the hash in a revision's name.
const maxPrefix = 223

// encode returns the template in the form of a patch of the set: kubectl
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

// decode returns the template of a revision.
func decode(r *appsv1.ControllerRevision) (corev1.PodTemplateSpec, error) {
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

// newRevision returns the revision of the set's template.
func newRevision(set *appsv1.StatefulSet, number int64, collisions *int32) (*appsv1.ControllerRevision, error) {
	data, err := encode(&set.Spec.Template)
	if err != nil {
		return nil, err
	}
	h := fnv.New32()
	_, _ = h.Write(data)
	_, _ = h.Write([]byte(strconv.Itoa(int(ptr.Deref(collisions, 0)))))
	hash := rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
	labels := maps.Clone(set.Spec.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["controller.kubernetes.io/hash"] = hash
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: set.Namespace, Name: set.Name[:min(len(set.Name), maxPrefix)] + "-" + hash,
			Labels: labels, Annotations: maps.Clone(set.Annotations),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, controllerKind())},
		},
		Revision: number,
	}
	r.Data.Raw = data
	return r, nil
}

// history is what a set's revisions come to.
type history struct {
	// Create is the revision to be made, Bump the one to be made the latest by
	// raising its number.
	Create, Bump *appsv1.ControllerRevision
	// Update is the revision of the set's template: one of those two, or one
	// that is the latest already. Current is what the set's status names.
	Update, Current *appsv1.ControllerRevision
}

func byNumber(a, b *appsv1.ControllerRevision) int {
	if a.Revision != b.Revision {
		return int(max(-1, min(1, a.Revision-b.Revision)))
	}
	return strings.Compare(a.Name, b.Name)
}

// revise finds the revisions of a set among those it owns.
func revise(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision) (history, error) {
	all = slices.SortedFunc(slices.Values(all), byNumber)
	var h history
	next := int64(1)
	if n := len(all); n > 0 {
		next = all[n-1].Revision + 1
	}
	want, err := newRevision(set, next, set.Status.CollisionCount)
	if err != nil {
		return h, err
	}
	for i, r := range slices.Backward(all) {
		t, err := decode(r)
		if err != nil {
			return h, err
		}
		if !bytes.Equal(r.Data.Raw, want.Data.Raw) && !workload.SameTemplate(&t, &set.Spec.Template, "") {
			continue
		}
		h.Update = r
		if i != len(all)-1 {
			h.Bump = r.DeepCopy()
			h.Bump.Revision, h.Update = next, h.Bump
		}
		break
	}
	if h.Update == nil {
		h.Create, h.Update = want, want
	}
	h.Current = h.Update
	for _, r := range all {
		if r.Name == set.Status.CurrentRevision && r.Name != h.Update.Name {
			h.Current = r
		}
	}
	return h, nil
}

// excess returns the oldest revisions beyond the limit that no pod and no
// status needs.
func excess(set *appsv1.StatefulSet, all []*appsv1.ControllerRevision, pods []*corev1.Pod, h history) []*appsv1.ControllerRevision {
	live := map[string]bool{h.Current.Name: true, h.Update.Name: true}
	for _, p := range pods {
		live[revisionOf(p)] = true
	}
	idle := slices.DeleteFunc(slices.SortedFunc(slices.Values(all), byNumber),
		func(r *appsv1.ControllerRevision) bool { return live[r.Name] })
	if n := len(idle) - int(ptr.Deref(set.Spec.RevisionHistoryLimit, 10)); n > 0 {
		return idle[:n]
	}
	return nil
}
