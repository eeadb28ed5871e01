package fields

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// State says what happens with a field that a client sets.
type State int

// The states a field can be in.
const (
	// Honoured: what is written is what runs.
	Honoured State = iota + 1
	// Limited: honoured for the values in Rule.Only, or the map keys in
	// Rule.Keys; another value is refused.
	Limited
	// Refused: a request that sets it fails.
	Refused
	// System: the API server fills it in; no client decides it.
	System
)

// String returns the word that the documentation uses.
func (s State) String() string {
	switch s {
	case Honoured:
		return "honoured"
	case Limited:
		return "some values"
	case Refused:
		return "refused"
	case System:
		return "set by the server"
	default:
		return fmt.Sprintf("State(%d)", int(s))
	}
}

// Rule is what the table says about one path.
type Rule struct {
	// Path has JSON names, with [] behind the name of a list of objects:
	// spec.containers[].image. A rule that refuses may name an inner path
	// and then covers everything below it.
	Path  string
	State State
	// Only are the honoured values of a Limited scalar, in their JSON form
	// without quotes. Unset is always fine.
	Only []string
	// Keys are the honoured keys of a Limited map.
	Keys []string
	// Later are patterns, as of path.Match, of the values or keys that are
	// known and refused; those that are in neither list are left to
	// validation. Without it all others are refused.
	Later []string
	// Note is a remark for the documentation. Where something is refused it
	// also ends the error, so it says what to do instead.
	Note string
	// AsKubernetes says that Kubernetes refuses it too, in the words of Note.
	AsKubernetes bool
	// EmptyOK accepts an object without content where it is refused
	// otherwise: it asks for nothing.
	EmptyOK bool
}

// Table holds the rules of one kind.
type Table struct {
	rules []Rule
	root  *node
}

// node is one path element of the table.
type node struct {
	rule     *Rule
	children map[string]*node
}

// New makes a table. It fails where two rules speak about one field.
func New(rules []Rule) (*Table, error) {
	t := &Table{rules: slices.Clone(rules), root: &node{}}
	for i := range t.rules {
		if err := t.insert(&t.rules[i]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *Table) insert(r *Rule) error {
	if r.State < Honoured || r.State > System {
		return fmt.Errorf("rule %s has no state", r.Path)
	}
	if (r.State == Limited) != (len(r.Only)+len(r.Keys) > 0) {
		return fmt.Errorf("rule %s: values go with the state 'some values' and no other", r.Path)
	}
	at := t.root
	for name := range segments(r.Path) {
		if at.rule != nil {
			return fmt.Errorf("rule %s lies below rule %s", r.Path, at.rule.Path)
		}
		next := at.children[name]
		if next == nil {
			next = &node{}
			if at.children == nil {
				at.children = map[string]*node{}
			}
			at.children[name] = next
		}
		at = next
	}
	if at.rule != nil {
		return fmt.Errorf("two rules for %s", r.Path)
	}
	if len(at.children) > 0 {
		return fmt.Errorf("rule %s lies above other rules", r.Path)
	}
	at.rule = r
	return nil
}

// segments yields the names of a path, without the marks of lists.
func segments(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range strings.SplitSeq(path, ".") {
			if !yield(strings.TrimSuffix(name, "[]")) {
				return
			}
		}
	}
}

// Rules returns a copy of all rules in the order of the table.
func (t *Table) Rules() []Rule { return slices.Clone(t.rules) }

// Lookup returns the rule that decides the path: its own one, or one of an
// inner path above it.
func (t *Table) Lookup(path string) (Rule, bool) {
	at := t.root
	for name := range segments(path) {
		if at.rule != nil {
			return *at.rule, true
		}
		if at = at.children[name]; at == nil {
			return Rule{}, false
		}
	}
	if at.rule == nil {
		return Rule{}, false
	}
	return *at.rule, true
}

// Compare holds the table against the leaves of the kind's Go types. Missing
// are leaves that no rule decides; stale are rules that decide no leaf, or
// that honour a path which is not a leaf.
func (t *Table) Compare(leaves []string) (missing, stale []string) {
	used := map[string]bool{}
	for _, leaf := range leaves {
		r, ok := t.Lookup(leaf)
		if !ok {
			missing = append(missing, leaf)
			continue
		}
		if r.Path == leaf || r.State == Refused || r.State == System {
			used[r.Path] = true
		}
	}
	for _, r := range t.rules {
		if !used[r.Path] {
			stale = append(stale, r.Path)
		}
	}
	return missing, stale
}

// Count returns how many of the leaves are in each state.
func (t *Table) Count(leaves []string) map[State]int {
	counts := map[State]int{}
	for _, leaf := range leaves {
		if r, ok := t.Lookup(leaf); ok {
			counts[r.State]++
		}
	}
	return counts
}

// refuses says whether a Limited rule refuses a value or key.
func (r *Rule) refuses(value string) bool {
	if matches(r.Only, value) || matches(r.Keys, value) {
		return false
	}
	return len(r.Later) == 0 || matches(r.Later, value)
}

func matches(patterns []string, value string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, value)
		return ok && err == nil
	})
}
