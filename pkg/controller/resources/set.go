// Package resources tells controllers that work on objects of any kind which
// kinds the API server serves, and watches the metadata of all of them. It
// must not know what is done with the objects.
package resources

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ErrDiscovery: the API server could not tell all that it serves. What it did
// tell can be used.
var ErrDiscovery = errors.New("discovery incomplete")

// Discovery is the part of a discovery client that is needed.
type Discovery interface {
	ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error)
}

// Resource is one kind of objects that the API server serves.
type Resource struct {
	GVR        schema.GroupVersionResource
	Kind       string
	Namespaced bool
	verbs      []string
}

// Can reports whether the API server serves all these verbs.
func (r Resource) Can(verbs ...string) bool {
	for _, v := range verbs {
		if !slices.Contains(r.verbs, v) {
			return false
		}
	}
	return true
}

// Set is what the API server serves.
type Set struct {
	preferred []Resource
	byKind    map[schema.GroupVersionKind]Resource
	// anyVersion has the preferred resource of a kind.
	anyVersion map[schema.GroupKind]Resource
}

// Discover asks the API server what it serves. The set is usable, though
// partial, also where the error wraps ErrDiscovery.
func Discover(d Discovery) (Set, error) {
	groups, lists, err := d.ServerGroupsAndResources()
	set, parseErr := NewSet(groups, lists)
	if err = errors.Join(err, parseErr); err != nil {
		return set, fmt.Errorf("%w: %w", ErrDiscovery, err)
	}
	return set, nil
}

// NewSet makes a set from discovery documents. A list that cannot be read is
// left out and told of.
func NewSet(groups []*metav1.APIGroup, lists []*metav1.APIResourceList) (Set, error) {
	s := Set{byKind: map[schema.GroupVersionKind]Resource{}, anyVersion: map[schema.GroupKind]Resource{}}
	first := map[string]bool{}
	for _, g := range groups {
		first[g.PreferredVersion.GroupVersion] = true
	}
	var rest []Resource
	var errs []error
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i := range list.APIResources {
			r, ok := resourceOf(gv, &list.APIResources[i])
			if !ok {
				continue
			}
			s.byKind[gv.WithKind(r.Kind)] = r
			if first[list.GroupVersion] {
				s.prefer(r)
			} else {
				rest = append(rest, r)
			}
		}
	}
	for _, r := range rest {
		if _, known := s.anyVersion[schema.GroupKind{Group: r.GVR.Group, Kind: r.Kind}]; !known {
			s.prefer(r)
		}
	}
	return s, errors.Join(errs...)
}

func resourceOf(gv schema.GroupVersion, r *metav1.APIResource) (Resource, bool) {
	if strings.Contains(r.Name, "/") {
		return Resource{}, false // a subresource
	}
	return Resource{GVR: gv.WithResource(r.Name), Kind: r.Kind, Namespaced: r.Namespaced, verbs: r.Verbs}, true
}

func (s *Set) prefer(r Resource) {
	s.preferred = append(s.preferred, r)
	s.anyVersion[schema.GroupKind{Group: r.GVR.Group, Kind: r.Kind}] = r
}

// Preferred returns each resource once, in its preferred version.
func (s Set) Preferred() []Resource { return s.preferred }

// ForKind returns the resource that serves a kind, in that version or, where
// that one is not served, in another.
func (s Set) ForKind(apiVersion, kind string) (Resource, bool) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Resource{}, false
	}
	if r, ok := s.byKind[gv.WithKind(kind)]; ok {
		return r, true
	}
	return s.ForGroupKind(schema.GroupKind{Group: gv.Group, Kind: kind})
}

// ForGroupKind returns the resource that serves a kind, in its preferred
// version.
func (s Set) ForGroupKind(gk schema.GroupKind) (Resource, bool) {
	r, ok := s.anyVersion[gk]
	return r, ok
}
