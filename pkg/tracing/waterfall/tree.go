// Package waterfall shows the trace of a pod as text: a line a span, with a bar
// where it lies in its stage. It must not know where traces come from.
package waterfall

import (
	"slices"
	"time"

	"github.com/carob-project/carob/pkg/tracing"
)

// burstGap parts what happens after the start: spans with so much time between
// them have nothing to do with each other.
const burstGap = time.Second

// node is a span with those inside of it.
type node struct {
	tracing.Span
	end    time.Time
	inside []*node
}

// section is a part of the output with a time scale of its own.
type section struct {
	title      string
	begin, end time.Time
	nodes      []*node
}

// sections sorts the spans of a trace into its stages. A root span that has not
// ended yet, or was never made, is made up from what is inside of it.
func sections(t tracing.Trace) []section {
	byID := make(map[string]*node, len(t.Spans))
	nodes := make([]*node, 0, len(t.Spans))
	for _, s := range t.Spans {
		n := &node{Span: s, end: s.Begin.Add(s.Took)}
		if s.Open {
			n.end = t.Now
		}
		byID[s.ID] = n
		nodes = append(nodes, n)
	}
	roots := map[tracing.Stage]*node{}
	var later []*node
	for _, n := range nodes {
		if outer := byID[n.Parent]; outer != nil {
			outer.inside = append(outer.inside, n)
			continue
		}
		s := stageOf(t, n)
		switch root := roots[s]; {
		case s == tracing.Later:
			later = append(later, n)
		case n.Parent == "":
			if root != nil {
				n.inside = append(root.inside, n.inside...)
			}
			roots[s] = n
		default:
			if root == nil {
				root = &node{Span: tracing.Span{Name: "pod " + string(s), Begin: n.Begin, Open: true}, end: t.Now}
				roots[s] = root
			}
			root.inside = append(root.inside, n)
		}
	}
	return arrange(roots, later)
}

// stageOf is where a span belongs that has none around it.
func stageOf(t tracing.Trace, n *node) tracing.Stage {
	for _, s := range []tracing.Stage{tracing.Start, tracing.End} {
		if root := tracing.RootID(t.UID, s).String(); n.Parent == root || n.ID == root {
			return s
		}
	}
	return tracing.Later
}

func arrange(roots map[tracing.Stage]*node, later []*node) []section {
	var all []section
	begun := time.Time{}
	if r := roots[tracing.Start]; r != nil {
		begun = r.Begin
		all = append(all, newSection("start", r))
	}
	for i := 0; i < len(later); {
		s := newSection("later", later[i])
		for i++; i < len(later) && later[i].Begin.Sub(s.end) < burstGap; i++ {
			s.add(later[i])
		}
		if !begun.IsZero() {
			s.title += ", " + s.begin.Sub(begun).Round(time.Second).String() + " after the start began"
		}
		all = append(all, s)
	}
	if r := roots[tracing.End]; r != nil {
		all = append(all, newSection("end", r))
	}
	for _, s := range all {
		sortNodes(s.nodes)
	}
	return all
}

func newSection(title string, n *node) section {
	s := section{title: title, begin: n.Begin, end: n.end}
	s.add(n)
	return s
}

func (s *section) add(n *node) {
	s.nodes = append(s.nodes, n)
	if n.Begin.Before(s.begin) {
		s.begin = n.Begin
	}
	if n.end.After(s.end) {
		s.end = n.end
	}
	for _, in := range n.inside {
		if in.end.After(s.end) {
			s.end = in.end
		}
	}
}

func sortNodes(nodes []*node) {
	slices.SortStableFunc(nodes, func(a, b *node) int { return a.Begin.Compare(b.Begin) })
	for _, n := range nodes {
		sortNodes(n.inside)
	}
}
