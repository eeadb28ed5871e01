package fields

import (
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown writes the page about a kind: counts, then one row a rule.
// The leaves are those of the kind's Go types.
func (t *Table) WriteMarkdown(w io.Writer, kind string, leaves []string) error {
	var b strings.Builder
	counts := t.Count(leaves)
	fmt.Fprintf(&b, "# Fields of a %s\n\n", kind)
	b.WriteString("<!-- Generated: go run ./hack/fields > docs/fields.md -->\n\n")
	b.WriteString("What you write is what runs: a field is honoured, or the request that sets it fails with\n" +
		"status 422, the path of the field and the words `not supported yet`. No field is dropped in\n" +
		"silence. This page and the refusal come from one table in `pkg/fields`.\n\n")
	b.WriteString("| fields | count |\n| --- | ---: |\n")
	for _, s := range []State{Honoured, Limited, Refused, System} {
		fmt.Fprintf(&b, "| %s | %d |\n", s, counts[s])
	}
	fmt.Fprintf(&b, "| all | %d |\n\n", len(leaves))
	b.WriteString("Counted are the leaves of the Go types. A row that refuses an object stands for all fields\n" +
		"in it; the number behind it says how many. An empty object where *empty is fine* stands is\n" +
		"accepted, as it asks for nothing. Each honoured field has a test that shows it with real\n" +
		"containers, for one of the lists of containers where there are several; it is named in the\n" +
		"last column, folder first.\n")
	below := t.leavesPerRule(leaves)
	section := ""
	for _, r := range t.rules {
		if s := sectionOf(r.Path); s != section {
			section = s
			fmt.Fprintf(&b, "\n## %s\n\n| path | | remark | shown by |\n| --- | --- | --- | --- |\n", s)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Path, r.stateCell(below[r.Path]), cell(r.remark()), r.proof())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) leavesPerRule(leaves []string) map[string]int {
	n := map[string]int{}
	for _, leaf := range leaves {
		if r, ok := t.Lookup(leaf); ok {
			n[r.Path]++
		}
	}
	return n
}

// sectionOf names the part of the page a path belongs to.
func sectionOf(path string) string {
	for _, list := range []string{"spec.initContainers[]", "spec.containers[]", "spec.volumes[]"} {
		if strings.HasPrefix(path, list+".") {
			return "`" + list + "`"
		}
	}
	root, _, _ := strings.Cut(path, ".")
	return "`" + root + "`"
}

func (r Rule) stateCell(leaves int) string {
	if leaves > 1 {
		return fmt.Sprintf("%s (%d)", r.State, leaves)
	}
	return r.State.String()
}

// proof names the test of a field that can be set.
func (r Rule) proof() string {
	if r.State != Honoured && r.State != Limited {
		return ""
	}
	test, _ := ShownBy(r.Path)
	return test
}

func (r Rule) remark() string {
	var parts []string
	if len(r.Only) > 0 {
		parts = append(parts, "only `"+strings.Join(r.Only, "`, `")+"`")
	}
	if len(r.Keys) > 0 {
		parts = append(parts, "only `"+strings.Join(r.Keys, "`, `")+"`")
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	if r.EmptyOK {
		parts = append(parts, "empty is fine")
	}
	return strings.Join(parts, "; ")
}

// cell makes text safe for a table cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
