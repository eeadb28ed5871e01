// Package quota says what objects count for in the quotas of their namespace:
// which resources a kind is measured in, how much of them an object uses, and
// which quotas are about it. It is pure, and must know neither how objects are
// found nor what is done about a quota that is full.
package quota

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Kind is what quotas know of one kind of objects.
type Kind struct {
	// Resource is the kind's name in paths.
	Resource schema.GroupResource
	// Tracks reports whether objects of the kind can use the resource that a
	// quota names.
	Tracks func(corev1.ResourceName) bool
	// Usage is what an object uses at a time, of resources that any quota
	// might name.
	Usage func(obj any, now time.Time) corev1.ResourceList
	// Fits reports whether a scope of a quota includes the object. Nil: no
	// scope does.
	Fits func(scope corev1.ScopedResourceSelectorRequirement, obj any) bool
}

// CountName is the name under which the number of objects of a kind is bounded.
func CountName(r schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + r.String())
}

// aliases are older names of the number of objects.
var aliases = map[schema.GroupResource]corev1.ResourceName{
	corev1.Resource("configmaps"):             corev1.ResourceConfigMaps,
	corev1.Resource("resourcequotas"):         corev1.ResourceQuotas,
	corev1.Resource("replicationcontrollers"): corev1.ResourceReplicationControllers,
	corev1.Resource("secrets"):                corev1.ResourceSecrets,
}

// Counted is the Kind of objects of which only the number matters.
func Counted(r schema.GroupResource) Kind {
	names := []corev1.ResourceName{CountName(r)}
	if alias, ok := aliases[r]; ok {
		names = append(names, alias)
	}
	return Kind{
		Resource: r,
		Tracks:   func(name corev1.ResourceName) bool { return slices.Contains(names, name) },
		Usage:    func(any, time.Time) corev1.ResourceList { return ones(names...) },
	}
}

func ones(names ...corev1.ResourceName) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, name := range names {
		list[name] = *resource.NewQuantity(1, resource.DecimalSI)
	}
	return list
}

// For returns the Kind of a resource.
func For(r schema.GroupResource) Kind {
	switch r {
	case corev1.Resource("pods"):
		return Pods()
	case corev1.Resource("persistentvolumeclaims"):
		return Claims()
	case corev1.Resource("services"):
		return Services()
	}
	return Counted(r)
}

// Tracked returns which of the names the kind is measured in, sorted.
func (k Kind) Tracked(names []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range names {
		if k.Tracks(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Scopes are all that a quota says about which objects it is for.
func Scopes(s *corev1.ResourceQuotaSpec) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, scope := range s.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists})
	}
	if s.ScopeSelector != nil {
		out = append(out, s.ScopeSelector.MatchExpressions...)
	}
	return out
}

// Includes reports whether an object is in all these scopes.
func (k Kind) Includes(scopes []corev1.ScopedResourceSelectorRequirement, obj any) bool {
	return !slices.ContainsFunc(scopes, func(s corev1.ScopedResourceSelectorRequirement) bool {
		return k.Fits == nil || !k.Fits(s, obj)
	})
}

// Ignored are the kinds that no quota is about: those that are not stored, and
// events.
func Ignored(r schema.GroupResource) bool {
	switch r.Group {
	case "authentication.k8s.io", "authorization.k8s.io", "metrics.k8s.io":
		return true
	}
	return r.Resource == "events" && (r.Group == "" || r.Group == "events.k8s.io") ||
		r.Group == "" && (r.Resource == "bindings" || r.Resource == "componentstatuses")
}

// Names are the resources of a list, sorted.
func Names(list corev1.ResourceList) []corev1.ResourceName { return slices.Sorted(maps.Keys(list)) }

// Add adds up what is in the lists.
func Add(sum, more corev1.ResourceList) {
	for name, amount := range more {
		total, has := sum[name]
		if !has {
			sum[name] = amount.DeepCopy()
			continue
		}
		total.Add(amount)
		sum[name] = total
	}
}

// Equal reports whether both lists have the same amounts of the same resources,
// however they are written.
func Equal(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// extended says whether a name belongs to others than Kubernetes.
func extended(name corev1.ResourceName) bool {
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}
