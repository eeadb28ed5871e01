package selinux

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Label is a security context. Level is empty where the policy has no levels.
type Label struct {
	User, Role, Type, Level string
}

// ErrInvalid is wrapped where a label cannot be one, or is none in the policy
// that the kernel has.
var ErrInvalid = errors.New("invalid SELinux label")

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
	// A level, or a range of two, each a sensitivity that may have categories.
	validLevel = regexp.MustCompile(`^` + oneLevel + `(-` + oneLevel + `)?$`)
)

const (
	categories = `c[0-9]+(\.c[0-9]+)?`
	oneLevel   = `s[0-9]+(:` + categories + `(,` + categories + `)*)?`
)

// Parse reads a label. The error wraps ErrInvalid.
func Parse(s string) (Label, error) {
	parts := strings.SplitN(strings.TrimRight(s, "\x00\n"), ":", 4)
	if len(parts) < 3 {
		return Label{}, fmt.Errorf("%w %q", ErrInvalid, s)
	}
	l := Label{User: parts[0], Role: parts[1], Type: parts[2]}
	if len(parts) == 4 {
		l.Level = parts[3]
	}
	return l, l.check()
}

// check looks at the form alone. What passes can stand, quoted, in the options
// of a mount.
func (l Label) check() error {
	for what, name := range map[string]string{"user": l.User, "role": l.Role, "type": l.Type} {
		if !validName.MatchString(name) {
			return fmt.Errorf("%w %q: its %s is %q", ErrInvalid, l, what, name)
		}
	}
	if l.Level != "" && !validLevel.MatchString(l.Level) {
		return fmt.Errorf("%w %q: its level is %q", ErrInvalid, l, l.Level)
	}
	return nil
}

// String returns the form that the kernel reads; empty for no label.
func (l Label) String() string {
	if l == (Label{}) {
		return ""
	}
	s := l.User + ":" + l.Role + ":" + l.Type
	if l.Level != "" {
		s += ":" + l.Level
	}
	return s
}

// MountOption is what gives every file of a file system the label l.
func (l Label) MountOption() string { return `context="` + l.String() + `"` }

// with replaces the parts that own has.
func (l Label) with(own Label) Label {
	for _, p := range []struct{ to, from *string }{
		{&l.User, &own.User}, {&l.Role, &own.Role}, {&l.Type, &own.Type}, {&l.Level, &own.Level},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	return l
}

// Sensitivity is a level's lowest part without its categories.
func Sensitivity(level string) string {
	low, _, _ := strings.Cut(level, "-")
	low, _, _ = strings.Cut(low, ":")
	return low
}
