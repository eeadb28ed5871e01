// Package kindtest shows what a kind says about objects: it runs a file of cases
// through the strategy that the API server uses. It must know no kind.
package kindtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"

	"github.com/carob-project/carob/pkg/registry/kind"
)

// File is what testdata/rules.yaml holds: an object and changes of it, each with
// everything that the API says about it, in its order.
type File struct {
	Base  map[string]any `json:"base"`
	Cases []Case         `json:"cases"`
}

// Case is a creation, or where there is an old object an update through the
// subresource Sub. Both objects are merge patches of the base.
type Case struct {
	Sub  string         `json:"sub"`
	Old  map[string]any `json:"old"`
	New  map[string]any `json:"new"`
	Want []string       `json:"want"`
	Warn []string       `json:"warn"`
}

// Rules runs testdata/rules.yaml. Defaults may be nil; subs are the rules of the
// subresources.
func Rules[T kind.Object](t *testing.T, k kind.Kind[T], defaults func(T), subs map[string]kind.Rules[T]) {
	t.Helper()
	data, err := os.ReadFile("testdata/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f File
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		t.Fatal(err)
	}
	decode := func(t *testing.T, patch map[string]any) T {
		t.Helper()
		text, err := json.Marshal(merge(f.Base, patch))
		if err != nil {
			t.Fatal(err)
		}
		obj := k.New()
		if err := json.Unmarshal(text, obj); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if defaults != nil {
			defaults(obj)
		}
		return obj
	}
	for i, c := range f.Cases {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			rules := k.Main
			if c.Sub != "" {
				rules = subs[c.Sub]
			}
			strategy, obj := k.Strategy(rules), decode(t, c.New)
			ctx := genericrequest.WithNamespace(t.Context(), obj.GetNamespace())
			var warned []string
			if c.Old == nil {
				rest.FillObjectMetaSystemFields(obj)
				err = rest.BeforeCreate(strategy, ctx, obj)
				warned = strategy.WarningsOnCreate(ctx, obj)
			} else {
				old := decode(t, c.Old)
				Stored(obj, old)
				err = rest.BeforeUpdate(strategy, ctx, obj, old)
				warned = strategy.WarningsOnUpdate(ctx, obj, old)
			}
			if diff := cmp.Diff(c.Want, Causes(t, err)); diff != "" {
				t.Errorf("errors (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.Warn, Short(warned)); diff != "" {
				t.Errorf("warnings (-want +got)\n%s", diff)
			}
		})
	}
}

// Stored makes an object one that is stored already, and the others changes of
// it.
func Stored(changed, stored kind.Object) {
	rest.FillObjectMetaSystemFields(stored)
	stored.SetGeneration(max(stored.GetGeneration(), 1))
	for _, o := range []kind.Object{stored, changed} {
		o.SetUID(stored.GetUID())
		o.SetCreationTimestamp(stored.GetCreationTimestamp())
		o.SetGeneration(stored.GetGeneration())
		o.SetResourceVersion("1")
	}
}

// merge is a JSON merge patch.
func merge(base, patch map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range patch {
		inner, object := value.(map[string]any)
		was, both := out[key].(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case object && both:
			out[key] = merge(was, inner)
		default:
			out[key] = value
		}
	}
	return out
}

// Causes are the lines of an error that a client gets, which has to be about
// what is invalid.
func Causes(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	status, ok := err.(apierrors.APIStatus) //nolint:errorlint // it is what the library returns
	if !ok || !apierrors.IsInvalid(err) {
		t.Fatalf("not about what is invalid: %v", err)
	}
	var out []string
	for _, c := range status.Status().Details.Causes {
		out = append(out, c.Field+": "+c.Message)
	}
	return Short(out)
}

var examples = regexp.MustCompile(` \(e\.g\. .*$`)

// Short leaves out what makes messages long: examples and differences.
func Short(texts []string) []string {
	var out []string
	for _, text := range texts {
		line, _, _ := strings.Cut(text, "\n")
		out = append(out, examples.ReplaceAllString(line, ""))
	}
	return out
}
