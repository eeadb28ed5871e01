package folder

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const m = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
	one := func(name string) string { return fmt.Sprintf(m, name) }
	for _, c := range []struct {
		what, text string
		// documents are line and name.
		documents, problems []string
	}{
		{"nothing", "", nil, nil},
		{"comments alone", "# nothing\n---\n# here\n", nil, nil},
		{"one", one("a"), []string{"1 a"}, nil},
		{"several, with comments before them", "# x\n" + one("a") + "---\n\n# y\n" + one("b") + "...\n" + one("c"), []string{"2 a", "8 b", "12 c"}, nil},
		{"a directive, a mark of order and other ends of lines", "\xef\xbb\xbf%YAML 1.1\r\n---\r\n" + strings.ReplaceAll(one("a"), "\n", "\r\n"), []string{"3 a"}, nil},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}", []string{"2 a"}, nil},
		{"a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: b}\n", []string{"4 a", "7 b"}, nil},
		{"one that is wrong among others", one("a") + "---\na: [\n---\n" + one("c"), []string{"1 a", "7 c"}, []string{"f.yaml:5: did not find"}},
		{"a key twice", one("a") + "kind: X\n", nil, []string{`f.yaml:4: key "kind" already set in map`}},
		{"no name", "apiVersion: v1\nkind: X\nmetadata:\n  labels: {a: b}\n", nil, []string{"f.yaml:3: metadata.name: Required value"}},
		{"a name that YAML takes for another thing", "apiVersion: v1\nkind: X\nmetadata:\n  name: y\n", nil, []string{"f.yaml:4: metadata.name: Invalid value: must be a text"}},
		{"a namespace likewise", "apiVersion: v1\nkind: X\nmetadata:\n  name: a\n  namespace: no\n", nil, []string{"f.yaml:5: metadata.namespace: Invalid value: must be a text"}},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}\n", nil, []string{"f.yaml:1: kind: Required value"}},
		{"a name that is made up", "apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: a-\n", nil, []string{"f.yaml:4: metadata.generateName: Forbidden"}},
		{"no object", "- a\n- b\n", nil, []string{"f.yaml:1: is not an object"}},
		{"the set's own label", "apiVersion: v1\nkind: X\nmetadata:\n  name: a\n  labels: {" + LabelPartOf + ": x}\n", nil, []string{"f.yaml:5: metadata.labels: Forbidden"}},
		{"no text", "apiVersion: v1\x00", nil, []string{"f.yaml: is not text in UTF-8"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := Parse("f.yaml", []byte(c.text))
			var documents []string
			for _, d := range f.Documents {
				documents = append(documents, fmt.Sprintf("%d %s", d.Line, d.Name))
			}
			if fmt.Sprint(documents) != fmt.Sprint(c.documents) {
				t.Errorf("documents %v, want %v", documents, c.documents)
			}
			for i, p := range f.Problems {
				if i >= len(c.problems) || !strings.HasPrefix(p.Error(), c.problems[i]) {
					t.Errorf("problem %q, want %q", p.Error(), c.problems)
				}
			}
			if len(f.Problems) != len(c.problems) {
				t.Errorf("%d problems, want %d", len(f.Problems), len(c.problems))
			}
		})
	}
}

// What was read from the API can be put into the folder.
func TestStrip(t *testing.T) {
	const plain = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n"
	const exported = plain + "status: {}\n"
	text := strings.Replace(exported, "{name: a}", "{name: a, uid: x, resourceVersion: '3', creationTimestamp: null, generation: 2, managedFields: []}", 1)
	a, b := Parse("f", []byte(plain)), Parse("f", []byte(text))
	if a.Documents[0].Hash != b.Documents[0].Hash {
		t.Errorf("%v and %v", a.Documents[0].Content, b.Documents[0].Content)
	}
}

func TestPosition(t *testing.T) {
	const text = "a:\n  b.c/d: 1\n  list:\n  - name: x\n    v: 1\n  - name: y\n    v: &ref\n      w: 2\nother: *ref\n"
	p := locate(text, 10)
	for field, want := range map[string]string{
		"": "10", "a": "10", "a.b.c/d": "11", "a[b.c/d]": "11", "a.list[1].v": "16", "a.list[1].none": "15", ".a.list[name=\"y\"].v.w": "17",
		"other.w": "17", "none": "10", "a.list[7]": "12",
	} {
		if got := fmt.Sprint(p.line(field)); got != want {
			t.Errorf("%q is in line %s, want %s", field, got, want)
		}
	}
	if got := p.numbered(`a.list[name="y"].v`); got != "a.list[1].v" {
		t.Errorf("numbered: %s", got)
	}
}

func BenchmarkParse(b *testing.B) {
	const pod = `---
apiVersion: v1
kind: Pod
metadata: {name: p%d, labels: {app: web}}
spec:
  containers:
    - name: web
      image: busybox:1.35
      command: [httpd, -f]
      env: [{name: A, value: b}]
      resources: {requests: {cpu: 100m, memory: 64Mi}}
`
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, pod, i)
	}
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if f := Parse("f.yaml", data); len(f.Problems) > 0 {
			b.Fatal(f.Problems)
		}
	}
}
