package folder

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/carob-project/carob/pkg/controller/workload"
)

// State is what became of an object.
type State string

// The states of objects and files.
const (
	Applied State = "Applied"
	// Pending: it is about to be applied.
	Pending State = "Pending"
	// Wrong: its file says something that cannot be applied.
	Wrong State = "Wrong"
	// Held: another object of its file is wrong, so it stays as it is.
	Held State = "Held"
	// Waiting: what it needs is not there yet; it is tried again.
	Waiting State = "Waiting"
	// RolledBack: its rollout failed and was taken back.
	RolledBack State = "RolledBack"
	// Kept: it is in no file, but that is not certain, or others need it.
	Kept State = "Kept"
	// Pruning: it is in no file any more and about to go.
	Pruning State = "Pruning"
)

// Row is an object, or a problem of a file, as it is shown.
type Row struct {
	File       string `json:"file"`
	Line       int    `json:"line,omitempty"`
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
	State      State  `json:"state"`
	Field      string `json:"field,omitempty"`
	Error      string `json:"error,omitempty"`
}

// Attempt is how the last try to apply, or to prune, an object went.
type Attempt struct {
	// Hash is that of the document; empty: it was to be pruned.
	Hash string
	// Owned is what the object's was right after it was applied.
	Owned string
	// File is where the document was.
	File string
	// Problems are why it was not done; none: it was.
	Problems []Problem
	// Refused: the document is wrong, or others hold the object. The whole file
	// waits then.
	Refused bool
	// After is when to try again; zero, for one that is refused: when the
	// document or the object changes. For one that was applied it is when it may
	// be brought back once more after others have changed it.
	After time.Time
	// Failures in a row, or times that it was brought back.
	Failures int
}

func (a Attempt) ok() bool { return len(a.Problems) == 0 }

// Input is what a decision is made on.
type Input struct {
	Files []File
	// Members are the objects of the set.
	Members map[Key]Member
	// Attempts are those since the start.
	Attempts map[Key]Attempt
	// Blind: the folder cannot be read, so that nothing may be pruned.
	Blind bool
	// PruneFrom is when what is in no file is pruned: an object may be on its
	// way to another file.
	PruneFrom time.Time
	Now       time.Time
}

// Plan is what to do next.
type Plan struct {
	// Apply are the documents that are due, in the order of their files.
	Apply []*Document
	Prune []Member
	Rows  []Row
	// After is when to look again though nothing has changed; 0 is never.
	After time.Duration
}

type planner struct {
	Input
	plan Plan
	// wanted are the documents by object; files with a problem count.
	wanted map[Key][]*Document
	// wrong are the problems by file.
	wrong map[string][]Problem
}

// Decide is pure.
func Decide(in Input) Plan {
	p := &planner{Input: in, wanted: map[Key][]*Document{}, wrong: map[string][]Problem{}}
	for _, f := range in.Files {
		p.wrong[f.Path] = append(p.wrong[f.Path], f.Problems...)
		for _, d := range f.Documents {
			p.wanted[d.Key] = append(p.wanted[d.Key], d)
		}
	}
	p.duplicates()
	refused := p.refusals()
	for _, f := range in.Files {
		for _, problem := range p.wrong[f.Path] {
			if !refused[problem] {
				p.row(Row{File: f.Path, Line: problem.Line, State: Wrong, Field: problem.Field, Error: problem.Message})
			}
		}
		for _, d := range f.Documents {
			p.document(d)
		}
	}
	p.prune()
	return p.plan
}

func (p *planner) row(r Row) { p.plan.Rows = append(p.plan.Rows, r) }

func (p *planner) wait(until time.Time) bool {
	left := until.Sub(p.Now)
	if left <= 0 {
		return false
	}
	p.plan.After = workload.Sooner(p.plan.After, left)
	return true
}

// duplicates are wrong, but for the one in the file from which the object was
// applied.
func (p *planner) duplicates() {
	for _, key := range slices.SortedFunc(maps.Keys(p.wanted), Key.compare) {
		all := p.wanted[key]
		if len(all) < 2 {
			continue
		}
		home := -1
		if m, ok := p.Members[key]; ok {
			home = slices.IndexFunc(all, func(d *Document) bool { return d.File == m.File })
		}
		for i, d := range all {
			if i == home {
				continue
			}
			other := all[0]
			if home >= 0 {
				other = all[home]
			} else if i == 0 {
				other = all[1]
			}
			p.wrong[d.File] = append(p.wrong[d.File], Problem{
				File: d.File, Line: d.Line, Message: fmt.Sprintf("%s is also in %s:%d", key, other.File, other.Line),
			})
		}
	}
}

// refusals adds what the API server has refused.
func (p *planner) refusals() map[Problem]bool {
	out := map[Problem]bool{}
	for _, f := range p.Files {
		for _, d := range f.Documents {
			if a, ok := p.attempt(d); ok && a.Refused {
				for _, problem := range a.Problems {
					p.wrong[f.Path] = append(p.wrong[f.Path], problem)
					out[problem] = true
				}
			}
		}
	}
	return out
}

// attempt is the last one with this document.
func (p *planner) attempt(d *Document) (Attempt, bool) {
	a, ok := p.Attempts[d.Key]
	return a, ok && a.Hash == d.Hash && a.File == d.File
}

// document decides what becomes of one.
func (p *planner) document(d *Document) {
	r := Row{File: d.File, Line: d.Line, APIVersion: d.APIVersion, Kind: d.Kind, Namespace: d.Namespace, Name: d.Name}
	m, exists := p.Members[d.Key]
	a, tried := p.attempt(d)
	same := exists && m.Hash == d.Hash && m.File == d.File
	switch {
	case tried && a.Refused && (a.After.IsZero() || p.wait(a.After)):
		p.failed(r, Wrong, a.Problems)
		return
	case tried && a.Refused:
		p.plan.Apply = append(p.plan.Apply, d)
		p.failed(r, Wrong, a.Problems)
		return
	case len(p.wrong[d.File]) > 0 && same:
		r.State = Applied
	case len(p.wrong[d.File]) > 0:
		r.State = Held
	case exists && m.Deleting:
		r.State, r.Error = Waiting, "the object is being deleted"
	case exists && m.RolledBack == d.Hash && m.Hash == d.Hash:
		r.State, r.Error = RolledBack, "its rollout failed and was taken back; it is tried again when the file says something else"
	case tried && a.ok() && same && m.Owned == a.Owned:
		r.State = Applied
	case tried && p.wait(a.After):
		p.failed(r, Waiting, a.Problems)
		return
	default:
		p.plan.Apply = append(p.plan.Apply, d)
		if tried && !a.ok() {
			p.failed(r, Waiting, a.Problems)
			return
		}
		r.State = Pending
	}
	p.row(r)
}

// failed adds a row a problem.
func (p *planner) failed(r Row, s State, problems []Problem) {
	r.State = s
	if len(problems) == 0 {
		r.State = Pending
		p.row(r)
	}
	for _, problem := range problems {
		r.Line, r.Field, r.Error = cmp.Or(problem.Line, r.Line), problem.Field, problem.Message
		p.row(r)
	}
}

// prune decides about the members that no file names.
func (p *planner) prune() {
	for _, key := range slices.SortedFunc(maps.Keys(p.Members), Key.compare) {
		m := p.Members[key]
		if len(p.wanted[key]) > 0 {
			continue
		}
		r := Row{File: m.File, Kind: m.Kind, Namespace: m.Namespace, Name: m.Name, State: Kept}
		r.APIVersion = m.Resource.GVR.GroupVersion().String()
		a, tried := p.Attempts[key]
		tried = tried && a.Hash == "" && !a.ok()
		switch why := p.keep(m); {
		case m.Deleting:
			r.State = Pruning
		case why != "":
			r.Error = why
		case p.wait(p.PruneFrom):
			r.State = Pruning
		case tried && p.wait(a.After):
			r.Error = a.Problems[0].Message
		default:
			r.State = Pruning
			p.plan.Prune = append(p.plan.Prune, m)
		}
		p.row(r)
	}
}

// keep says why a member that no file seems to name may be wanted all the same.
func (p *planner) keep(m Member) string {
	if p.Blind {
		return "the folder cannot be read"
	}
	for _, f := range p.Files {
		switch {
		case f.Path == m.File && len(p.wrong[f.Path]) > 0:
			return "its file is wrong"
		case f.Unknown:
			return "what is in " + f.Path + " is not known"
		case len(p.wrong[f.Path]) > 0 && bytes.Contains(f.Text, []byte(m.Name)):
			return f.Path + ", which is wrong, may name it"
		}
	}
	return ""
}
