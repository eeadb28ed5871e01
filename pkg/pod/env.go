package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// EnvFor returns a container's variables with references expanded, in the
// order of the spec; a name that comes twice keeps its last value. A reference
// sees the variables before it. Only literal values are known: one with
// valueFrom gives an error that wraps ErrConfig.
func EnvFor(_ *corev1.Pod, c *corev1.Container) ([]EnvVar, error) {
	known := make(map[string]string, len(c.Env))
	index := make(map[string]int, len(c.Env))
	env := make([]EnvVar, 0, len(c.Env))
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			return nil, fmt.Errorf("%w: env %s: valueFrom cannot be resolved", ErrConfig, e.Name)
		}
		value := Expand(e.Value, known)
		known[e.Name] = value
		if i, twice := index[e.Name]; twice {
			env[i].Value = value
			continue
		}
		index[e.Name] = len(env)
		env = append(env, EnvVar{Name: e.Name, Value: value})
	}
	return env, nil
}

// Expand replaces each $(NAME) by the variable's value. $$ stands for one
// dollar sign, so $$(NAME) gives the text $(NAME). A reference to an unknown
// variable, or one that is not closed, stays as it is.
func Expand(s string, vars map[string]string) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String()
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
