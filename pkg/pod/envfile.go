package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// EnvFile is a file of a volume that variables come from.
type EnvFile struct {
	// Path is where it is on the node; Text is its content, where Err is nil.
	Path, Text string
	Err        error
}

// FileRef names a file of a volume of the pod.
type FileRef struct{ Volume, Path string }

// EnvFiles returns the files that a container's variables come from, each once.
func EnvFiles(c *corev1.Container) []FileRef {
	var refs []FileRef
	seen := map[FileRef]bool{}
	for _, e := range c.Env {
		if e.ValueFrom == nil || e.ValueFrom.FileKeyRef == nil {
			continue
		}
		ref := FileRef{e.ValueFrom.FileKeyRef.VolumeName, e.ValueFrom.FileKeyRef.Path}
		if !seen[ref] {
			refs = append(refs, ref)
		}
		seen[ref] = true
	}
	return refs
}

// file resolves a variable from a file. An empty value counts as none, as in
// Kubernetes, and so does a file that cannot be read as broken even where it is
// optional.
func (b *envBuilder) file(ref *corev1.FileKeySelector) (value string, found bool, err error) {
	f, known := b.src.Files[FileRef{ref.VolumeName, ref.Path}]
	if !known {
		return "", false, configErrorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	if f.Err == nil {
		value, f.Err = envFileValue(f.Text, ref.Key)
	}
	switch {
	case f.Err != nil:
		return "", false, configErrorf("couldn't parse env file")
	case value != "":
		return value, true, nil
	case ref.Optional != nil && *ref.Optional:
		return "", false, nil
	}
	return "", false, configErrorf("environment variable key %q not found in file %q", ref.Key, f.Path)
}

// maxEnvLine is the longest line that Kubernetes reads.
const maxEnvLine = 64 << 10

// envFileValue looks a name up in a file of lines of the form NAME='value'. The
// quotes are required, what is in them is literal and may have several lines;
// empty lines and comments are left out. What comes after the name is not
// looked at. A name that is not there has an empty value.
func envFileValue(text, key string) (string, error) {
	lines := envLines(text)
	for n := 0; n < len(lines); n++ {
		if len(lines[n]) >= maxEnvLine {
			return "", fmt.Errorf("line %d is too long", n+1)
		}
		line := strings.TrimLeft(lines[n], " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		if !ok || name == "" || strings.TrimRight(name, " \t") != name {
			return "", fmt.Errorf("line %d: a name and '=' have to stand at its beginning", n+1)
		}
		value := ""
		// As for a shell, a space ends what is assigned: nothing.
		if strings.TrimLeft(rest, " \t") == rest {
			var err error
			if value, n, err = quotedValue(lines, n, rest); err != nil {
				return "", err
			}
		}
		if name == key {
			return value, nil
		}
	}
	return "", nil
}

// quotedValue reads the value that begins with rest, the end of line n, and
// returns the line on which it ends.
func quotedValue(lines []string, n int, rest string) (value string, last int, err error) {
	rest, ok := strings.CutPrefix(rest, "'")
	if !ok {
		return "", n, fmt.Errorf("line %d: the value has to stand in single quotes", n+1)
	}
	var b strings.Builder
	for first := n; ; rest = lines[n] {
		text, after, closed := strings.Cut(rest, "'")
		b.WriteString(text)
		if closed {
			if after = strings.TrimLeft(after, " \t"); after != "" && after[0] != '#' {
				return "", n, fmt.Errorf("line %d: something stands behind the value", n+1)
			}
			return b.String(), n, nil
		}
		b.WriteString("\n")
		if n++; n >= len(lines) {
			return "", n, fmt.Errorf("line %d: the quote is never closed", first+1)
		}
		if len(lines[n]) >= maxEnvLine {
			return "", n, fmt.Errorf("line %d is too long", n+1)
		}
	}
}

// envLines are the lines of a text without their ends.
func envLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	}
	return lines
}
