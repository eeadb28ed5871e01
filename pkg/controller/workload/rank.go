package workload

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Victims returns the n of the pods that go first when there are too many, in
// the order in which Kubernetes prefers them: without a node, not yet running,
// not ready, cheap to delete, on a node with many related pods, ready for a
// short time, restarted often, young. related are all pods of the same
// application, and weigh only by the node they are on.
func Victims(pods, related []*corev1.Pod, n int, now time.Time) []*corev1.Pod {
	if n >= len(pods) {
		return slices.Clone(pods)
	}
	onNode := map[string]int{}
	for _, p := range related {
		if Active(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int { return before(a, b, onNode, now) })
	return sorted[:n]
}

func before(a, b *corev1.Pod, onNode map[string]int, now time.Time) int {
	if c := cmp.Or(
		compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),
		cmp.Compare(phaseRank(a), phaseRank(b)),
		compareBool(Ready(a), Ready(b)),
		cmp.Compare(deletionCost(a), deletionCost(b)),
		cmp.Compare(onNode[b.Spec.NodeName], onNode[a.Spec.NodeName]),
	); c != 0 {
		return c
	}
	if Ready(a) && Ready(b) {
		if c := compareAge(Condition(a, corev1.PodReady).LastTransitionTime.Time,
			Condition(b, corev1.PodReady).LastTransitionTime.Time, a, b, now); c != 0 {
			return c
		}
	}
	regularA, sidecarsA := restarts(a)
	regularB, sidecarsB := restarts(b)
	if c := cmp.Or(cmp.Compare(regularB, regularA), cmp.Compare(sidecarsB, sidecarsA)); c != 0 {
		return c
	}
	return compareAge(a.CreationTimestamp.Time, b.CreationTimestamp.Time, a, b, now)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case !a:
		return -1
	default:
		return 1
	}
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodPending:
		return 0
	case corev1.PodUnknown:
		return 1
	default:
		return 2
	}
}

// deletionCost is what the pod's annotation says; what cannot be read counts 0.
func deletionCost(p *corev1.Pod) int32 {
	n, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// compareAge puts the younger first. Ages of the same order of magnitude count
// as equal, and chance, in the form of the UID, decides.
func compareAge(ta, tb time.Time, a, b *corev1.Pod, now time.Time) int {
	if ta.Equal(tb) {
		return 0
	}
	if ta.IsZero() || tb.IsZero() {
		return compareBool(!ta.IsZero(), !tb.IsZero())
	}
	if c := cmp.Compare(magnitude(now.Sub(ta)), magnitude(now.Sub(tb))); c != 0 {
		return c
	}
	return cmp.Compare(a.UID, b.UID)
}

func magnitude(age time.Duration) int64 {
	if age <= 0 {
		return -1
	}
	return int64(math.Log2(float64(age)))
}

// restarts returns the most restarts of a container, and of a sidecar.
func restarts(p *corev1.Pod) (regular, sidecars int32) {
	for _, s := range p.Status.ContainerStatuses {
		regular = max(regular, s.RestartCount)
	}
	keep := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		keep[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for _, s := range p.Status.InitContainerStatuses {
		if keep[s.Name] {
			sidecars = max(sidecars, s.RestartCount)
		}
	}
	return regular, sidecars
}
