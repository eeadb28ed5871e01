package fields

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Leaves returns the paths of all leaf fields of a Go API type, in the order
// of its declaration. A leaf is a scalar, a list of scalars, a map, or one of
// the structs that JSON shows as a scalar.
func Leaves(t reflect.Type, prefix string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && isObject(t.Elem()):
		return Leaves(t.Elem(), prefix+"[]")
	case !isObject(t):
		return []string{prefix}
	}
	var leaves []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, inline := jsonName(f)
		if inline {
			leaves = append(leaves, Leaves(f.Type, prefix)...)
			continue
		}
		if name != "" {
			leaves = append(leaves, Leaves(f.Type, prefix+"."+name)...)
		}
	}
	return leaves
}

// isObject says whether JSON shows the type as an object with known names.
func isObject(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return false
	}
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](),
		reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString](),
		reflect.TypeFor[metav1.FieldsV1]():
		return false
	}
	return true
}

// jsonName returns the name of a field in JSON, empty for one that JSON does
// not show, and whether the fields of an embedded struct stand in its place.
func jsonName(f reflect.StructField) (name string, inline bool) {
	name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case name == "-" || !f.IsExported():
		return "", false
	case name == "" && f.Anonymous:
		return "", true
	case name == "":
		return f.Name, false
	default:
		return name, false
	}
}
