// Package kind turns a declaration of an API kind, made of pure functions, into
// the storage that the API server serves: creation, update, status, selection
// and printing. It knows how kinds are stored in general and must know none in
// particular.
package kind

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is any API object.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind declares one kind.
type Kind[T Object] struct {
	// GVK is the version in which objects are stored.
	GVK schema.GroupVersionKind
	// Resource and Singular are its names in paths and on command lines.
	Resource, Singular string
	ShortNames         []string
	// Categories are the groups of kinds, such as all, that it belongs to.
	Categories []string
	Namespaced bool
	New        func() T
	NewList    func() runtime.Object
	// ValidName checks metadata.name; prefix is set for a generateName.
	ValidName func(name string, prefix bool) []string
	// Main are the rules of the resource itself.
	Main Rules[T]
	// CreateOnUpdate lets a PUT make an object; UnconditionalUpdate lets it
	// replace one without naming the resourceVersion.
	CreateOnUpdate, UnconditionalUpdate bool
	// Fields are the selectable fields beside metadata.name and
	// metadata.namespace. All keys are there for every object.
	Fields func(T) fields.Set
	// Columns and Row print an object; the first column is its name.
	Columns []metav1.TableColumnDefinition
	Row     func(T) []any
	// OrphanDependents is what a deletion that says nothing about dependents
	// does with them.
	OrphanDependents bool
	// TTL, in seconds, after which objects vanish; 0 keeps them.
	TTL uint64
}

// Rules are what one endpoint of a kind does with what it is sent. Any of the
// functions may be nil.
type Rules[T Object] struct {
	// Prepare and PrepareUpdate normalise an object before validation, and
	// take back what this endpoint may not write.
	Prepare       func(obj T)
	PrepareUpdate func(obj, old T)
	// Validate is asked on creation, ValidateUpdate on update; metadata has
	// been checked already.
	Validate       func(ctx context.Context, obj T) field.ErrorList
	ValidateUpdate func(ctx context.Context, obj, old T) field.ErrorList
	Warnings       func(obj T) []string
	// WarnOnce leaves Warnings to creations.
	WarnOnce bool
	// Reset names the top-level fields, such as status, that nobody can own
	// by applying to this endpoint. A path has its parts joined by dots.
	Reset []string
}

// GroupResource names the resource in errors.
func (k Kind[T]) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.GVK.Group, Resource: k.Resource}
}

func (k Kind[T]) selectable(obj T) fields.Set {
	s := fields.Set{}
	if k.Fields != nil {
		s = k.Fields(obj)
	}
	s["metadata.name"] = obj.GetName()
	if k.Namespaced {
		s["metadata.namespace"] = obj.GetNamespace()
	}
	return s
}

// AddFieldLabels tells the scheme which fields of the kind can be selected,
// under the given version (the kind's own where none is given).
func (k Kind[T]) AddFieldLabels(s *runtime.Scheme, also ...schema.GroupVersionKind) error {
	known := k.selectable(k.New())
	check := func(label, value string) (string, string, error) {
		if _, ok := known[label]; !ok {
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		return label, value, nil
	}
	for _, gvk := range append(slices.Clone(also), k.GVK) {
		if err := s.AddFieldLabelConversionFunc(gvk, check); err != nil {
			return err
		}
	}
	return nil
}

// AddToScheme registers the selectable fields of a kind without defaults.
func (k Kind[T]) AddToScheme(s *runtime.Scheme) error { return k.AddFieldLabels(s) }

// AddDefaultedToScheme is AddToScheme for a kind with defaults; set fills them
// in, of an object as of each one in a list.
func (k Kind[T]) AddDefaultedToScheme(s *runtime.Scheme, set func(T)) error {
	s.AddTypeDefaultingFunc(k.New(), func(o any) { set(o.(T)) })
	s.AddTypeDefaultingFunc(k.NewList(), func(o any) {
		// A list of the kind has items of it, so there is no error.
		_ = meta.EachListItem(o.(runtime.Object), func(item runtime.Object) error {
			set(item.(T))
			return nil
		})
	})
	return k.AddToScheme(s)
}
