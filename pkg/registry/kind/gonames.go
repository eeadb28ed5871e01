package kind

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// GoNames prints a struct in an error as Kubernetes does: it validates types
// that have no JSON names, so the fields have those of Go, and all are there.
type GoNames struct{ Value any }

// MarshalJSON implements json.Marshaler.
func (g GoNames) MarshalJSON() ([]byte, error) { return marshalGo(reflect.ValueOf(g.Value)) }

func marshalGo(v reflect.Value) ([]byte, error) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Struct && strings.HasPrefix(v.Type().PkgPath(), "k8s.io/api/"):
		fields := goFields(v)
		return marshalList('{', '}', len(fields), func(i int) ([]byte, error) {
			value, err := marshalGo(fields[i].value)
			return append([]byte(`"`+fields[i].name+`":`), value...), err
		})
	case v.Kind() == reflect.Slice && !v.IsNil():
		return marshalList('[', ']', v.Len(), func(i int) ([]byte, error) { return marshalGo(v.Index(i)) })
	}
	// The types that all versions share have JSON names there too.
	return json.Marshal(v.Interface())
}

type goField struct {
	name  string
	value reflect.Value
}

// goFields are the fields of a struct, and of those embedded in it.
func goFields(v reflect.Value) []goField {
	var out []goField
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Anonymous {
			out = append(out, goFields(v.Field(i))...)
		} else {
			out = append(out, goField{f.Name, v.Field(i)})
		}
	}
	return out
}

func marshalList(open, end byte, n int, item func(int) ([]byte, error)) ([]byte, error) {
	out := bytes.NewBuffer([]byte{open})
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		b, err := item(i)
		if err != nil {
			return nil, err
		}
		out.Write(b)
	}
	out.WriteByte(end)
	return out.Bytes(), nil
}
