package fields

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func TestPodTableCoversTheTypes(t *testing.T) {
	missing, stale := Pod().Compare(PodLeaves())
	for _, p := range missing {
		t.Errorf("no rule decides %s", p)
	}
	for _, p := range stale {
		t.Errorf("the rule for %s decides no field", p)
	}
}

func TestRulesThatRefuseSayWhatToDo(t *testing.T) {
	for _, r := range Pod().Rules() {
		if (r.State == Refused || r.State == Limited) && r.Note == "" {
			t.Errorf("%s is refused without a reason", r.Path)
		}
		if strings.HasSuffix(r.Note, ".") {
			t.Errorf("%s: the remark is part of a sentence, without a stop", r.Path)
		}
	}
}

// TestPageIsCurrent is the verifying twin of hack/fields.
func TestPageIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := Pod().WriteMarkdown(&want, "Pod", PodLeaves()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/fields.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Bytes(), got) {
		t.Error("docs/fields.md is not what the table says; run: go run ./hack/fields > docs/fields.md")
	}
}

// TestEveryFieldIsRefusedOrDecided sets every field of a PodSpec, one at a
// time, and wants a refusal of the fields the table refuses and of no other.
func TestEveryFieldIsRefusedOrDecided(t *testing.T) {
	for _, leaf := range Leaves(reflect.TypeFor[corev1.PodSpec](), "spec") {
		spec := reflect.New(reflect.TypeFor[corev1.PodSpec]())
		setLeaf(spec, leaf)
		errs := Pod().Refuse(spec.Interface(), field.NewPath("spec"))
		rule, _ := Pod().Lookup(leaf)
		switch rule.State {
		case Refused:
			at := strings.ReplaceAll(rule.Path, "[]", "[0]")
			if len(errs) != 1 || errs[0].Field != at {
				t.Errorf("%s: want one refusal at %s, got %v", leaf, at, errs)
			}
		case Honoured:
			if len(errs) > 0 {
				t.Errorf("%s is honoured, got %v", leaf, errs)
			}
		}
	}
}

// setLeaf gives the field a value that is not zero.
func setLeaf(v reflect.Value, leaf string) {
	_, rest, _ := strings.Cut(leaf, ".")
	for name := range segments(rest) {
		v = descend(v, name)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		switch v.Type() {
		case reflect.TypeFor[intstr.IntOrString]():
			v.Set(reflect.ValueOf(intstr.FromInt32(1)))
		case reflect.TypeFor[metav1.Time]():
			v.Set(reflect.ValueOf(metav1.Unix(1, 0)))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), reflect.Zero(v.Type().Elem()))
	}
}

// descend returns the field of that JSON name, through pointers, lists and
// embedded structs, all of which it makes.
func descend(v reflect.Value, name string) reflect.Value {
	for {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
			continue
		case reflect.Slice:
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			v = v.Index(0)
			continue
		}
		for i := range v.NumField() {
			n, inline := jsonName(v.Type().Field(i))
			if n == name {
				return v.Field(i)
			}
			if inline {
				if f := descend(v.Field(i), name); f.IsValid() {
					return f
				}
			}
		}
		return reflect.Value{}
	}
}

func TestEmptyObjectsThatAskForNothing(t *testing.T) {
	spec := &corev1.PodSpec{
		SecurityContext: &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}},
		Affinity:        &corev1.Affinity{},
		Overhead:        corev1.ResourceList{},
		Containers:      []corev1.Container{{Lifecycle: &corev1.Lifecycle{}}},
	}
	if errs := Pod().Refuse(spec, field.NewPath("spec")); len(errs) > 0 {
		t.Error(errs)
	}
	spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{
		CSI: &corev1.CSIVolumeSource{},
	}}}
	spec.SecurityContext.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)}
	var got []string
	for _, e := range Pod().Refuse(spec, field.NewPath("spec")) {
		got = append(got, e.Field)
	}
	want := []string{"spec.volumes[0].csi", "spec.securityContext.windowsOptions"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAnUndecidedFieldIsRefused(t *testing.T) {
	table, err := New([]Rule{{Path: "spec.hostname", State: Honoured}})
	if err != nil {
		t.Fatal(err)
	}
	errs := table.Refuse(&corev1.PodSpec{Hostname: "a", Subdomain: "b"}, field.NewPath("spec"))
	if len(errs) != 1 || errs[0].Field != "spec.subdomain" {
		t.Error(errs)
	}
}

func TestTablesThatContradictThemselves(t *testing.T) {
	for name, rules := range map[string][]Rule{
		"twice":              {{Path: "a.b", State: Honoured}, {Path: "a.b", State: Refused}},
		"below a rule":       {{Path: "a", State: Refused}, {Path: "a.b", State: Honoured}},
		"above a rule":       {{Path: "a.b", State: Honoured}, {Path: "a", State: Refused}},
		"limited to nothing": {{Path: "a", State: Limited}},
		"values unlimited":   {{Path: "a", State: Honoured, Only: []string{"x"}}},
		"no state":           {{Path: "a"}},
	} {
		if _, err := New(rules); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCompareFindsWhatIsMissingAndStale(t *testing.T) {
	table, err := New([]Rule{
		{Path: "a.b", State: Honoured}, {Path: "a.gone", State: Honoured}, {Path: "a.inner", State: Honoured},
		{Path: "a.refused", State: Refused},
	})
	if err != nil {
		t.Fatal(err)
	}
	missing, stale := table.Compare([]string{"a.b", "a.new", "a.inner.x", "a.refused.y"})
	if diff := cmp.Diff([]string{"a.new"}, missing); diff != "" {
		t.Error(diff)
	}
	// A rule that honours covers one leaf, never what may join it later.
	if diff := cmp.Diff([]string{"a.gone", "a.inner"}, stale); diff != "" {
		t.Error(diff)
	}
}
