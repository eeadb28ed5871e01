package folder

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// position finds the lines of a document's fields.
type position struct {
	node *yaml.Node
	// offset is added to the lines of the nodes.
	offset int
}

// locate reads a document for the lines alone. Where it cannot be read, all
// fields are at its first line.
func locate(text string, first int) position {
	var doc yaml.Node
	// Tabs may indent JSON.
	err := yaml.Unmarshal([]byte(strings.ReplaceAll(text, "\t", " ")), &doc)
	if err != nil || len(doc.Content) == 0 {
		return position{offset: first}
	}
	return position{node: doc.Content[0], offset: first - 1}
}

// line returns that of a field, or of the nearest one around it that is there.
func (p position) line(field string) int {
	if p.node == nil {
		return p.offset
	}
	found, line := find(p.node, field)
	if found.Kind == yaml.MappingNode && len(found.Content) > 0 && field == "" {
		return p.offset + found.Content[0].Line
	}
	return p.offset + line
}

// child is the position of a part of the document.
func (p position) child(field string) position {
	if p.node == nil {
		return p
	}
	n, _ := find(p.node, field)
	return position{node: n, offset: p.offset}
}

// find follows a path such as spec.containers[0].image as far as it leads, and
// returns where it ends and the line of the last key.
func find(n *yaml.Node, field string) (*yaml.Node, int) {
	line := n.Line
	for field != "" {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		next, key, rest := step(n, field)
		if next == nil {
			break
		}
		n, line, field = next, key, rest
	}
	return n, line
}

// step goes one element of the path; the line is that of its key.
func step(n *yaml.Node, field string) (next *yaml.Node, line int, rest string) {
	field = strings.TrimPrefix(field, ".")
	inside, bracket := strings.CutPrefix(field, "[")
	if bracket {
		var name string
		if name, rest, bracket = strings.Cut(inside, "]"); !bracket {
			return nil, 0, ""
		}
		return bracketed(n, name, rest)
	}
	if n.Kind != yaml.MappingNode {
		return nil, 0, ""
	}
	// Keys may have dots: the longest one that fits is meant.
	best := 0
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		after, ok := strings.CutPrefix(field, key)
		if ok && len(key) > best && (after == "" || after[0] == '.' || after[0] == '[') {
			best, next, line, rest = len(key), n.Content[i+1], n.Content[i].Line, after
		}
	}
	return next, line, rest
}

// bracketed is an element by its number, by a key such as name="web", or a key
// of a map.
func bracketed(n *yaml.Node, name, rest string) (*yaml.Node, int, string) {
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil {
			if i < 0 || i >= len(n.Content) {
				return nil, 0, ""
			}
			return n.Content[i], n.Content[i].Line, rest
		}
		want, value, ok := strings.Cut(strings.Split(name, ",")[0], "=")
		for _, item := range n.Content {
			if v, _ := find(item, want); ok && v != item && v.Value == strings.Trim(value, `"`) {
				return item, item.Line, rest
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1], n.Content[i].Line, rest
			}
		}
	}
	return nil, 0, ""
}

// numbered writes elements that are named by a key, such as [name="web"], by
// their numbers, as manifests and most messages have them.
func (p position) numbered(field string) string {
	if p.node == nil {
		return field
	}
	var out strings.Builder
	n, left := p.node, field
	for left != "" {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		next, _, rest := step(n, left)
		if next == nil {
			break
		}
		text := left[:len(left)-len(rest)]
		if i := slices.Index(n.Content, next); n.Kind == yaml.SequenceNode && i >= 0 {
			text = "[" + strconv.Itoa(i) + "]"
		}
		out.WriteString(text)
		n, left = next, rest
	}
	return out.String() + left
}
