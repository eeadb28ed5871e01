package pod

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Expand replaces each $(NAME) by the variable's value. $$ stands for one
// dollar sign, so $$(NAME) gives the text $(NAME). A reference to an unknown
// variable, or one that is not closed, stays as it is.
func Expand(s string, vars map[string]string) string {
	out, _ := expand(s, vars)
	return out
}

// expand also returns the names of the variables that are unknown.
func expand(s string, vars map[string]string) (out string, unknown []string) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String(), unknown
		}
		b.WriteString(s[:i])
		rest := s[i+1:]
		switch rest[0] {
		case '$':
			b.WriteByte('$')
			s = rest[1:]
		case '(':
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				b.WriteString("$(")
				s = rest[1:]
				continue
			}
			if value, ok := vars[rest[1:end]]; ok {
				b.WriteString(value)
			} else {
				b.WriteString("$" + rest[:end+1])
				unknown = append(unknown, rest[1:end])
			}
			s = rest[end+1:]
		default:
			b.WriteByte('$')
			s = rest
		}
	}
}

// expandAll expands the references in a command or its arguments.
func expandAll(l []string, env []EnvVar) []string {
	if l == nil {
		return nil
	}
	vars := make(map[string]string, len(env))
	for _, e := range env {
		vars[e.Name] = e.Value
	}
	out := make([]string, 0, len(l))
	for _, s := range l {
		out = append(out, Expand(s, vars))
	}
	return out
}

// WithSubPaths returns the pod with every subPathExpr of one container replaced
// by the subPath it stands for; without one it returns p itself. A reference to
// an unknown variable, and a path that leads out of its volume, are errors that
// wrap ErrConfig.
func WithSubPaths(p *corev1.Pod, container string, env []EnvVar) (*corev1.Pod, error) {
	c, _ := FindContainer(p, container)
	if c == nil || !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.SubPathExpr != "" }) {
		return p, nil
	}
	vars := make(map[string]string, len(env))
	for _, e := range env {
		vars[e.Name] = e.Value
	}
	p = p.DeepCopy()
	c, _ = FindContainer(p, container)
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		if m.SubPathExpr == "" {
			continue
		}
		sub, unknown := expand(m.SubPathExpr, vars)
		switch {
		case len(unknown) > 0:
			return nil, configErrorf("missing value for %s", strings.Join(unknown, ", "))
		case path.IsAbs(sub):
			return nil, configErrorf("error SubPath `%s` must not be an absolute path", sub)
		case slices.Contains(strings.Split(sub, "/"), ".."):
			return nil, configErrorf("unable to provision SubPath `%s`: must not contain '..'", sub)
		}
		m.SubPath, m.SubPathExpr = sub, ""
	}
	return p, nil
}
