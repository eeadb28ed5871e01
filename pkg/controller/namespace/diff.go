package namespace

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Remaining are the objects of one resource that a namespace still holds.
type Remaining struct {
	Resource schema.GroupResource
	Count    int
	// Finalizers counts the objects by finalizer.
	Finalizers map[string]int
}

// Outcome is what one round of emptying a namespace came to.
type Outcome struct {
	// Discovery is why not all resources are known; nil if they are.
	Discovery error
	// Deletion is what could not be deleted or listed.
	Deletion []error
	// Remaining is what is still there, pods alone while there are any.
	Remaining []Remaining
}

// Empty reports whether the namespace certainly holds nothing any more.
func (o Outcome) Empty() bool {
	return o.Discovery == nil && len(o.Deletion) == 0 && len(o.Remaining) == 0
}

// Conditions returns the namespace's conditions after a round, in the words of
// Kubernetes, and whether they differ from old.
func Conditions(old []corev1.NamespaceCondition, o Outcome, now metav1.Time) ([]corev1.NamespaceCondition, bool) {
	out := slices.Clone(old)
	changed := false
	for _, want := range wanted(o) {
		i := slices.IndexFunc(out, func(c corev1.NamespaceCondition) bool { return c.Type == want.Type })
		if i < 0 {
			want.LastTransitionTime = now
			out = append(out, want)
			changed = true
			continue
		}
		have := out[i]
		want.LastTransitionTime = have.LastTransitionTime
		if have.Status != want.Status {
			want.LastTransitionTime = now
		}
		if have != want {
			out[i] = want
			changed = true
		}
	}
	return out, changed
}

// wanted lists the conditions without times.
func wanted(o Outcome) []corev1.NamespaceCondition {
	discovery := ""
	if o.Discovery != nil {
		discovery = "Discovery failed for some groups: " + o.Discovery.Error()
	}
	var deletion []string
	for _, err := range o.Deletion {
		deletion = append(deletion, err.Error())
	}
	remaining, finalizers := tell(o.Remaining)
	return []corev1.NamespaceCondition{
		choose(corev1.NamespaceDeletionDiscoveryFailure, discovery,
			"DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered"),
		choose(corev1.NamespaceDeletionGVParsingFailure, "",
			"GroupVersionParsingFailed", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
		choose(corev1.NamespaceDeletionContentFailure, strings.Join(deletion, ", "),
			"ContentDeletionFailed", "ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
		choose(corev1.NamespaceContentRemaining, remaining,
			"SomeResourcesRemain", "ContentRemoved", "All content successfully removed"),
		choose(corev1.NamespaceFinalizersRemaining, finalizers,
			"SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
	}
}

// choose makes a condition that is true where there is a problem to tell.
func choose(t corev1.NamespaceConditionType, problem, bad, good, fine string) corev1.NamespaceCondition {
	if problem != "" {
		return corev1.NamespaceCondition{Type: t, Status: corev1.ConditionTrue, Reason: bad, Message: problem}
	}
	return corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: good, Message: fine}
}

// tell puts what remains into words; empty where there is nothing.
func tell(remaining []Remaining) (resources, finalizers string) {
	sorted := slices.SortedFunc(slices.Values(remaining), func(a, b Remaining) int {
		return cmp.Compare(a.Resource.String(), b.Resource.String())
	})
	var res []string
	byFinalizer := map[string]int{}
	for _, r := range sorted {
		res = append(res, fmt.Sprintf("%s.%s has %d resource instances", r.Resource.Resource, r.Resource.Group, r.Count))
		for f, n := range r.Finalizers {
			byFinalizer[f] += n
		}
	}
	var fin []string
	for _, f := range slices.Sorted(maps.Keys(byFinalizer)) {
		fin = append(fin, fmt.Sprintf("%s in %d resource instances", f, byFinalizer[f]))
	}
	if len(res) > 0 {
		resources = "Some resources are remaining: " + strings.Join(res, ", ")
	}
	if len(fin) > 0 {
		finalizers = "Some content in the namespace has finalizers remaining: " + strings.Join(fin, ", ")
	}
	return resources, finalizers
}
