package fields

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NotYet begins the detail of every refusal.
const NotYet = "not supported yet: "

// Refuse returns an error for every field of the object that is set and not
// honoured, each at the topmost path that is refused. The object is the part
// of the kind that the field path names, such as a PodSpec for spec.
func (t *Table) Refuse(object any, path *field.Path) field.ErrorList {
	return t.RefuseAt(path.String(), object, path)
}

// RefuseAt does the same for an object that is part of another kind: at is
// its path in the table, path the one that errors name.
func (t *Table) RefuseAt(at string, object any, path *field.Path) field.ErrorList {
	top := t.root
	for name := range segments(at) {
		if top = top.children[name]; top == nil {
			return nil
		}
	}
	w := walker{}
	w.walk(top, reflect.ValueOf(object), path)
	return w.errs
}

type walker struct {
	errs field.ErrorList
}

func (w *walker) forbid(path *field.Path, detail string) {
	w.errs = append(w.errs, field.Forbidden(path, detail))
}

// walk goes down the object and the table at once.
func (w *walker) walk(at *node, v reflect.Value, path *field.Path) {
	if at == nil {
		// No rule: a test keeps this from happening, and if it does, the
		// field must not be dropped in silence.
		if isSet(v, true) {
			w.forbid(path, NotYet+"the field is unknown to this version")
		}
		return
	}
	if at.rule != nil {
		w.apply(at.rule, v, path)
		return
	}
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			w.walk(at, v.Index(i), path.Index(i))
		}
	case reflect.Struct:
		w.walkStruct(at, v, path)
	}
}

func (w *walker) walkStruct(at *node, v reflect.Value, path *field.Path) {
	for i := range v.NumField() {
		name, inline := jsonName(v.Type().Field(i))
		switch {
		case inline:
			w.walk(at, v.Field(i), path)
		case name != "":
			w.walk(at.children[name], v.Field(i), path.Child(name))
		}
	}
}

func (w *walker) apply(r *Rule, v reflect.Value, path *field.Path) {
	switch r.State {
	case Refused:
		if isSet(v, r.EmptyOK) {
			w.forbid(path, r.detail())
		}
	case Limited:
		if len(r.Keys) > 0 {
			w.applyKeys(r, v, path)
		} else {
			w.applyOnly(r, v, path)
		}
	}
}

// detail is what a refusal says.
func (r *Rule) detail() string {
	if r.AsKubernetes {
		return r.Note
	}
	return NotYet + r.Note
}

func (w *walker) applyOnly(r *Rule, v reflect.Value, path *field.Path) {
	if !isSet(v, false) {
		return
	}
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if got := fmt.Sprint(v.Interface()); r.refuses(got) {
		w.forbid(path, fmt.Sprintf("%svalue %q, only %s: %s", NotYet, got, quoted(r.Only), r.Note))
	}
}

func (w *walker) applyKeys(r *Rule, v reflect.Value, path *field.Path) {
	var keys []string
	for _, k := range v.MapKeys() {
		if key := k.String(); r.refuses(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		w.forbid(path.Key(key), NotYet+r.Note)
	}
}

// quoted joins values for a message.
func quoted(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(q, ", ")
}

// isSet says whether a client has set the value. With emptyOK an object in
// which no field is set counts as unset.
func isSet(v reflect.Value, emptyOK bool) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return false
		}
		if v.Elem().Kind() != reflect.Struct {
			return true
		}
		return !emptyOK || isSet(v.Elem(), false)
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	case reflect.Struct:
		if !isObject(v.Type()) {
			return !v.IsZero()
		}
		for i := range v.NumField() {
			if isSet(v.Field(i), false) {
				return true
			}
		}
		return false
	default:
		return !v.IsZero()
	}
}
