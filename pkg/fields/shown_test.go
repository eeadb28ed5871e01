package fields

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// TestEveryHonouredFieldIsShown wants, for each field that can be set, a test
// that exists and whose package speaks of every part of the field's path.
func TestEveryHonouredFieldIsShown(t *testing.T) {
	folders := map[string]*folder{}
	used := map[string]bool{}
	for _, r := range Pod().Rules() {
		if r.State != Honoured && r.State != Limited {
			continue
		}
		test, ok := ShownBy(r.Path)
		if !ok {
			t.Errorf("no test shows %s: name one in proofs.go", r.Path)
			continue
		}
		used[test] = true
		dir, name, _ := strings.Cut(test, ".")
		if folders[dir] == nil {
			folders[dir] = readFolder(t, dir)
		}
		if !folders[dir].tests[name] {
			t.Errorf("%s is to be shown by %s, and there is no such test", r.Path, test)
		}
		for part := range segments(strings.TrimPrefix(strings.TrimPrefix(shared(r.Path), "spec."), "container.")) {
			if !folders[dir].says(part) {
				t.Errorf("%s is to be shown by %s, which never speaks of %s", r.Path, test, part)
			}
		}
	}
	if len(used) < 5 {
		t.Errorf("only these tests were asked: %v", used)
	}
}

func TestEveryProofIsOfSomeField(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Proofs() {
		if seen[p.Path] {
			t.Errorf("two proofs for %s", p.Path)
		}
		seen[p.Path] = true
	}
	for _, r := range Pod().Rules() {
		for at := shared(r.Path); ; {
			delete(seen, at)
			delete(seen, strings.TrimSuffix(at, "[]"))
			i := strings.LastIndexByte(at, '.')
			if i < 0 {
				break
			}
			at = at[:i]
		}
	}
	for path := range seen {
		t.Errorf("the proof for %s is of no field", path)
	}
}

// folder is what a folder of tests holds.
type folder struct {
	tests map[string]bool
	text  string
}

func (f *folder) says(word string) bool {
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(strings.ToLower(word)) + `\b`).MatchString(f.text)
}

func readFolder(t *testing.T, dir string) *folder {
	t.Helper()
	f := &folder{tests: map[string]bool{}}
	var text strings.Builder
	add := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		text.Write(data)
		if err == nil && strings.HasSuffix(path, "_test.go") {
			err = f.addTests(path, data)
		}
		return err
	}
	if err := filepath.WalkDir(filepath.Join(root, dir), add); err != nil {
		t.Fatal(err)
	}
	if dir == "e2e/manifests" {
		if err := filepath.WalkDir(filepath.Join(root, "manifests"), add); err != nil {
			t.Fatal(err)
		}
	}
	f.text = strings.ToLower(text.String())
	return f
}

func (f *folder) addTests(path string, data []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, data, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			f.tests[fn.Name.Name] = true
		}
	}
	return nil
}
