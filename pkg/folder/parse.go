package folder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// Parse reads the documents of a file. One that is wrong does not keep the
// others from being read.
func Parse(path string, data []byte) File {
	f := File{Path: path, Text: data}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		f.Unknown = true
		f.Problems = []Problem{{File: path, Message: "is not text in UTF-8"}}
		return f
	}
	for _, part := range split(string(data)) {
		content, problems := decode(path, part)
		if len(problems) > 0 {
			f.Problems = append(f.Problems, problems...)
			continue
		}
		if content != nil {
			f.add(content, locate(part.text, part.line))
		}
	}
	return f
}

// part is a document's text and the number of its first line.
type part struct {
	text string
	line int
}

// split takes a file apart where YAML does: at lines that begin with ---, and
// after those that begin with three dots.
func split(text string) []part {
	var parts []part
	var b strings.Builder
	begin, n := 1, 0
	flush := func(next int) {
		if strings.TrimSpace(b.String()) != "" {
			parts = append(parts, part{b.String(), begin})
		}
		b.Reset()
		begin = next
	}
	fresh := true
	for line := range strings.Lines(text) {
		n++
		switch {
		case marker(line, "---"):
			flush(n)
			// What follows on the line belongs to the document.
			line = "   " + line[3:]
			fresh = true
		case marker(line, "..."):
			flush(n)
			line, fresh = "\n", true
		case fresh && strings.HasPrefix(line, "%"):
			line = "\n" // a directive
		case strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#"):
			fresh = false
		}
		b.WriteString(line)
	}
	flush(n)
	return parts
}

func marker(line, mark string) bool {
	rest, ok := strings.CutPrefix(line, mark)
	return ok && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// decode returns nil for a document that says nothing.
func decode(path string, p part) (map[string]any, []Problem) {
	data := []byte(p.text)
	if t := strings.TrimSpace(p.text); strings.HasPrefix(t, "{") && json.Valid([]byte(t)) {
		var v map[string]any
		strict, err := kjson.UnmarshalStrict(data, &v)
		if err = errors.Join(append(strict, err)...); err != nil {
			return nil, []Problem{{File: path, Line: p.line, Message: err.Error()}}
		}
	} else {
		var err error
		if data, err = yaml.YAMLToJSONStrict(data); err != nil {
			return nil, syntax(path, p, err)
		}
	}
	var v any
	if err := utiljson.Unmarshal(data, &v); err != nil {
		return nil, []Problem{{File: path, Line: p.line, Message: err.Error()}}
	}
	switch v := v.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, []Problem{{File: path, Line: p.firstLine(), Message: "is not an object with apiVersion and kind"}}
}

// firstLine is that of the first content.
func (p part) firstLine() int {
	n := p.line
	for line := range strings.Lines(p.text) {
		if t := strings.TrimSpace(line); t != "" && !strings.HasPrefix(t, "#") {
			return n
		}
		n++
	}
	return p.line
}

var inLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntax finds the lines in what the parser says.
func syntax(path string, p part, err error) []Problem {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	var out []Problem
	for _, m := range inLine.FindAllStringSubmatch(text, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil {
			out = append(out, Problem{File: path, Line: p.line + n - 1, Message: m[2]})
		}
	}
	if len(out) == 0 {
		out = []Problem{{File: path, Line: p.firstLine(), Message: strings.TrimPrefix(text, "yaml: ")}}
	}
	return out
}

// add takes up an object, or each of a list.
func (f *File) add(content map[string]any, at position) {
	kind, _ := content["kind"].(string)
	if items, ok := content["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		for i, item := range items {
			if m, ok := item.(map[string]any); ok {
				f.add(m, at.child(fmt.Sprintf("items[%d]", i)))
			} else {
				f.fault(at, fmt.Sprintf("items[%d]", i), "is not an object with apiVersion and kind")
			}
		}
		return
	}
	d := &Document{File: f.Path, Line: at.line(""), at: at, Content: content}
	if !f.identify(d, kind) {
		return
	}
	strip(content)
	data, err := json.Marshal(content)
	if err != nil {
		f.fault(at, "", err.Error())
		return
	}
	d.Hash = digest(data)
	f.Documents = append(f.Documents, d)
}

func (f *File) fault(at position, field, message string) {
	f.Problems = append(f.Problems, Problem{File: f.Path, Line: at.line(field), Field: field, Message: message})
}

// identify fills in whose document it is.
func (f *File) identify(d *Document, kind string) bool {
	before := len(f.Problems)
	need := func(field, value string) {
		if value == "" {
			f.fault(d.at, field, "Required value")
		}
	}
	version, _ := d.Content["apiVersion"].(string)
	need("apiVersion", version)
	need("kind", kind)
	meta, ok := d.Content["metadata"].(map[string]any)
	if !ok {
		f.fault(d.at, "metadata", "Required value")
		return false
	}
	name, _ := meta["name"].(string)
	if generate, _ := meta["generateName"].(string); name == "" && generate != "" {
		f.fault(d.at, "metadata.generateName", "Forbidden: an object of a folder needs a name of its own, by which it is found again")
	} else if _, isText := meta["name"].(string); isText || meta["name"] == nil {
		need("metadata.name", name)
	}
	for _, field := range []string{"name", "namespace"} {
		if _, isText := meta[field].(string); meta[field] != nil && !isText {
			f.fault(d.at, "metadata."+field, "Invalid value: must be a text: put it in quotes")
		}
	}
	for _, field := range []string{"labels", "annotations"} {
		texts := meta[field]
		if _, ok := texts.(map[string]any); texts != nil && !ok {
			f.fault(d.at, "metadata."+field, "Invalid value: must be a map of texts")
		}
	}
	if labels, _ := meta["labels"].(map[string]any); labels[LabelPartOf] != nil {
		f.fault(d.at, "metadata.labels", "Forbidden: "+LabelPartOf+" is set by the folder")
	}
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		f.fault(d.at, "apiVersion", "Invalid value: "+err.Error())
	}
	namespace, _ := meta["namespace"].(string)
	d.APIVersion, d.Key = version, Key{Group: gv.Group, Kind: kind, Namespace: namespace, Name: name}
	annotations, _ := meta["annotations"].(map[string]any)
	d.Adopt = annotations[AnnotationAdopt] == "true"
	return len(f.Problems) == before
}

// strip takes out what the API server sets itself, so that what was read from
// it can be put into the folder.
func strip(content map[string]any) {
	delete(content, "status")
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return
	}
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
		delete(meta, field)
	}
	if annotations, ok := meta["annotations"].(map[string]any); ok {
		for _, own := range []string{corev1.LastAppliedConfigAnnotation, AnnotationFile, AnnotationHash, AnnotationRolledBack} {
			delete(annotations, own)
		}
	}
}
