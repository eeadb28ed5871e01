package pod

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericrequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"
	"sigs.k8s.io/yaml"

	"github.com/carob-project/carob/pkg/registry/kind/kindtest"
)

// change is what a case says of a pod, beside what all pods of these tests have.
type change struct {
	M  json.RawMessage `json:"m"`
	S  json.RawMessage `json:"s"`
	C  json.RawMessage `json:"c"`
	St json.RawMessage `json:"st"`
}

type ruleCase struct {
	change
	Sub      string `json:"sub"`
	Old, New *change
}

type rule struct {
	ruleCase
	Case       *ruleCase
	Want, Warn []string
}

func readRules(t testing.TB, file string) []rule {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var rules []rule
	if err := yaml.UnmarshalStrict(data, &rules); err != nil {
		t.Fatal(err)
	}
	for i := range rules {
		if rules[i].Case != nil {
			rules[i].ruleCase = *rules[i].Case
		}
	}
	return rules
}

// pod makes the pod that the API decodes.
func (c *change) pod(t *testing.T) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	container := corev1.Container{Name: "main", Image: "busybox:1"}
	for _, part := range []struct {
		text json.RawMessage
		into any
	}{{c.M, &p.ObjectMeta}, {c.S, &p.Spec}, {c.C, &container}, {c.St, &p.Status}} {
		if len(part.text) == 0 {
			continue
		}
		if err := json.Unmarshal(part.text, part.into); err != nil {
			t.Fatalf("%v in %s", err, part.text)
		}
	}
	if p.Spec.Containers == nil {
		p.Spec.Containers = []corev1.Container{container}
	}
	if p.Name == "-" {
		p.Name = ""
	}
	SetDefaults(p)
	NameServiceAccount(&p.Spec)
	return p
}

// recorder keeps the warnings of a request.
type recorder []string

func (r *recorder) AddWarning(_, text string) { *r = append(*r, text) }

func TestRulesOfCreation(t *testing.T) {
	for i, r := range readRules(t, "rules_create.yaml") {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := r.pod(t)
			var said recorder
			ctx := warning.WithWarningRecorder(genericrequest.WithNamespace(t.Context(), p.Namespace), &said)
			rest.FillObjectMetaSystemFields(p)
			err := rest.BeforeCreate(newStrategy(), ctx, p)
			if err != nil {
				// The library asks for them only where there are no errors.
				said = append(said, newStrategy().WarningsOnCreate(ctx, p)...)
			}
			if diff := cmp.Diff(r.Want, kindtest.Causes(t, err)); diff != "" {
				t.Errorf("errors (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(r.Warn, kindtest.Short(said)); diff != "" {
				t.Errorf("warnings (-want +got)\n%s", diff)
			}
		})
	}
}

func TestRulesOfUpdates(t *testing.T) {
	for i, r := range readRules(t, "rules_update.yaml") {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p, old := r.New.pod(t), r.Old.pod(t)
			rest.FillObjectMetaSystemFields(old)
			for _, x := range []*corev1.Pod{p, old} {
				x.UID, x.CreationTimestamp, x.ResourceVersion, x.Generation = old.UID, old.CreationTimestamp, "1", 1
				admit(&x.Spec)
			}
			s := map[string]rest.RESTUpdateStrategy{
				"": newStrategy(), "status": statusStrategy{newStrategy()}, "ephemeralcontainers": ephemeralStrategy{newStrategy()},
			}[r.Sub]
			ctx := genericrequest.WithNamespace(t.Context(), p.Namespace)
			err := rest.BeforeUpdate(s, ctx, p, old)
			if diff := cmp.Diff(r.Want, kindtest.Causes(t, err)); diff != "" {
				t.Errorf("errors (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(r.Warn, kindtest.Short(s.WarningsOnUpdate(ctx, p, old))); diff != "" {
				t.Errorf("warnings (-want +got)\n%s", diff)
			}
		})
	}
}

// TestForbiddenChangesAreShown in the form that Kubernetes has for them.
func TestForbiddenChangesAreShown(t *testing.T) {
	old := stored(t, `{spec: {containers: [{name: a, image: "i:1"}]}}`)
	p := old.DeepCopy()
	p.Spec.Containers[0].Command = []string{"run"}
	errs := ValidateUpdate(p, old)
	const want = "@@ -5,7 +5,9 @@\n" +
		"   {\n    \"Name\": \"a\",\n    \"Image\": \"i:1\",\n" +
		"-   \"Command\": null,\n+   \"Command\": [\n+    \"run\"\n+   ],\n" +
		"    \"Args\": null,\n    \"WorkingDir\": \"\",\n    \"Ports\": null,\n"
	if len(errs) != 1 || !strings.Contains(errs[0].Detail, want) {
		t.Errorf("got %v, want it to contain\n%s", errs, want)
	}
}
