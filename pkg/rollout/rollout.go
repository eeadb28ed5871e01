// Package rollout picks the revisions of a workload that a person wants to
// compare, and writes them down. It must not know where they come from or how
// they are shown.
package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// What there may be nothing to compare for.
var (
	ErrNoRevision = errors.New("no such revision")
	ErrOnlyOne    = errors.New("there is nothing before it to compare with")
	ErrKind       = errors.New("has no revisions")
)

// Templates returns the pod template of each revision. The objects are what
// kubectl knows of the history: ReplicaSets of a Deployment, else the workload
// as it was.
func Templates(history map[int64]runtime.Object) (map[int64]*corev1.PodTemplateSpec, error) {
	out := map[int64]*corev1.PodTemplateSpec{}
	for number, obj := range history {
		switch o := obj.(type) {
		case *appsv1.ReplicaSet:
			out[number] = o.Spec.Template.DeepCopy()
		case *appsv1.StatefulSet:
			out[number] = o.Spec.Template.DeepCopy()
		case *appsv1.DaemonSet:
			out[number] = o.Spec.Template.DeepCopy()
		default:
			return nil, fmt.Errorf("%T %w", obj, ErrKind)
		}
		// It is of the set, not of what the user wrote.
		delete(out[number].Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	return out, nil
}

// Pair completes what the user asked for, where 0 is nothing: to is the latest
// revision, from the one before to.
func Pair[T any](revisions map[int64]T, from, to int64) (int64, int64, error) {
	numbers := slices.Sorted(maps.Keys(revisions))
	if len(numbers) == 0 {
		return 0, 0, ErrNoRevision
	}
	if to == 0 {
		to = numbers[len(numbers)-1]
	}
	i, found := slices.BinarySearch(numbers, to)
	if !found {
		return 0, 0, fmt.Errorf("%w: %d; there are %v", ErrNoRevision, to, numbers)
	}
	if from == 0 {
		if i == 0 {
			return 0, 0, fmt.Errorf("revision %d: %w", to, ErrOnlyOne)
		}
		from = numbers[i-1]
	}
	if _, found := revisions[from]; !found {
		return 0, 0, fmt.Errorf("%w: %d; there are %v", ErrNoRevision, from, numbers)
	}
	return from, to, nil
}

// YAML writes a template as it would stand in a manifest.
func YAML(t *corev1.PodTemplateSpec) ([]byte, error) { return yaml.Marshal(t) }
