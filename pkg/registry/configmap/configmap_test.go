package configmap

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		cm   corev1.ConfigMap
		want string
	}{
		"good":         {corev1.ConfigMap{Data: map[string]string{"a.b_c-d": "v"}, BinaryData: map[string][]byte{"x": {0}}}, ""},
		"key":          {corev1.ConfigMap{Data: map[string]string{"a b": "v"}}, "data[a b]"},
		"dots":         {corev1.ConfigMap{Data: map[string]string{"..": "v"}}, "data[..]"},
		"binary key":   {corev1.ConfigMap{BinaryData: map[string][]byte{"a/b": nil}}, "binaryData[a/b]"},
		"in both":      {corev1.ConfigMap{Data: map[string]string{"a": "v"}, BinaryData: map[string][]byte{"a": nil}}, "data[a]"},
		"just fitting": {corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("x", MaxSize)}}, ""},
		"one too many": {corev1.ConfigMap{Data: map[string]string{"a": strings.Repeat("x", MaxSize)}, BinaryData: map[string][]byte{"b": {0}}}, "[]"},
	} {
		got := ""
		for _, e := range Validate(&c.cm) {
			got += e.Field
		}
		if c.want == "[]" && len(Validate(&c.cm)) == 1 {
			continue
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestImmutable(t *testing.T) {
	yes, no := true, false
	frozen := &corev1.ConfigMap{Data: map[string]string{"a": "b"}, Immutable: &yes}
	for name, c := range map[string]struct {
		now, old *corev1.ConfigMap
		want     int
	}{
		"same":       {frozen, frozen, 0},
		"thawed":     {&corev1.ConfigMap{Data: frozen.Data, Immutable: &no}, frozen, 1},
		"changed":    {&corev1.ConfigMap{Data: map[string]string{"a": "c"}, Immutable: &yes}, frozen, 1},
		"not frozen": {&corev1.ConfigMap{}, &corev1.ConfigMap{Data: frozen.Data}, 0},
		"new freeze": {frozen, &corev1.ConfigMap{}, 0},
	} {
		if got := validateImmutable(c.now, c.old); len(got) != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
