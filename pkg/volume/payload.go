package volume

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultMode is that of files for which nothing else is said.
const defaultMode int32 = 0o644

// file is a file of a volume.
type file struct {
	data []byte
	mode int32
	// owner is the user it belongs to: root, unless there is need.
	owner int
}

// payload is the content of a volume, by relative path.
type payload map[string]file

// objectPayload returns the files of a ConfigMap or Secret with the given data.
// kind is the word Kubernetes' message uses.
func objectPayload(kind string, data map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool) (payload, error) {
	p := payload{}
	if len(items) == 0 {
		for key, content := range data {
			p[key] = file{data: content, mode: mode}
		}
		return p, p.check()
	}
	for _, it := range items {
		content, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, invalid("references non-existent %s key: %s", kind, it.Key)
		}
		p[path.Clean(it.Path)] = file{data: content, mode: or(it.Mode, mode)}
	}
	return p, p.check()
}

// configMapData joins the two kinds of data; their keys are disjoint.
func configMapData(c *corev1.ConfigMap) map[string][]byte {
	data := maps.Clone(c.BinaryData)
	if data == nil {
		data = map[string][]byte{}
	}
	for k, v := range c.Data {
		data[k] = []byte(v)
	}
	return data
}

// check says whether all paths stay inside the volume and fit each other.
func (p payload) check() error {
	for name := range p {
		if !fs.ValidPath(name) || name == "." || strings.HasPrefix(name, "..") || strings.ContainsRune(name, 0) {
			return invalid("invalid path %q: must be relative and not begin with or contain '..'", name)
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := p[dir]; ok {
				return invalid("invalid path %q: %q is a file", name, dir)
			}
		}
	}
	return nil
}

// readableByGroup returns the payload with files that their group may read.
func (p payload) readableByGroup() payload {
	out := make(payload, len(p))
	for name, f := range p {
		f.mode |= 0o440
		out[name] = f
	}
	return out
}

// top returns the names that stand in the volume's own directory.
func (p payload) top() map[string]struct{} {
	names := map[string]struct{}{}
	for name := range p {
		first, _, _ := strings.Cut(name, "/")
		names[first] = struct{}{}
	}
	return names
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// unsupported is for what validation should have refused.
func unsupported(what string) error {
	return invalid("%s: not supported yet", what)
}

// kindOf names the source of a volume that this package cannot make.
func kindOf(v *corev1.Volume) string { return fmt.Sprintf("the type of volume %q", v.Name) }
