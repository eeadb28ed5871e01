package waterfall

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/carob-project/carob/pkg/tracing"
)

// Options say how a trace is shown.
type Options struct {
	// Width is that of the terminal; 0: lines are as long as they get.
	Width int
	// Color marks failures red and what is under way yellow.
	Color bool
	// Stage is the only one shown; empty: all.
	Stage tracing.Stage
}

const (
	red    = "\033[31m"
	yellow = "\033[33m"
	cyan   = "\033[36m"
	plain  = "\033[0m"

	mostName          = 40
	numbers           = 22 // both columns of times with their spaces
	leastBar, mostBar = 12, 48
	wantedText        = 28
)

// Write shows a trace.
func Write(w io.Writer, t tracing.Trace, o Options) error {
	p := printer{w: w, o: o}
	p.printf("pod %s/%s  uid %s  trace %s\n", t.Namespace, t.Name, t.UID, t.TraceID)
	shown := false
	for _, s := range sections(t) {
		if o.Stage != "" && !strings.HasPrefix(s.title, string(o.Stage)) {
			continue
		}
		shown = true
		p.section(s)
	}
	if !shown && o.Stage != "" {
		p.printf("\nnothing is known of the stage %q\n", o.Stage)
	}
	if t.Dropped > 0 {
		p.printf("\n%d spans of this pod are not kept any more\n", t.Dropped)
	}
	if len(t.Others) > 0 {
		p.printf("\nother pods of this name (--uid):\n")
		for _, uid := range t.Others {
			p.printf("  %s\n", uid)
		}
	}
	return p.err
}

type printer struct {
	w   io.Writer
	o   Options
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) section(s section) {
	name := min(max(widest(s.nodes, 0), len("SPAN")), mostName)
	bar := mostBar
	if p.o.Width > 0 {
		bar = min(max(p.o.Width-name-numbers-wantedText, leastBar), mostBar)
	}
	p.printf("\n%s, at %s\n", s.title, s.begin.UTC().Format("2006-01-02 15:04:05.000 UTC"))
	p.printf("%-*s %9s %9s  %s\n", name, "SPAN", "AFTER", "TOOK", strings.TrimRight(fmt.Sprintf("%-*s  ATTRIBUTES", bar, ""), " "))
	p.rows(s, s.nodes, 0, name, bar)
}

func (p *printer) rows(s section, nodes []*node, depth, name, bar int) {
	for _, n := range nodes {
		p.row(s, n, depth, name, bar)
		p.failure(n, depth)
		p.rows(s, n.inside, depth+1, name, bar)
	}
}

func (p *printer) row(s section, n *node, depth, name, bar int) {
	took := duration(n.end.Sub(n.Begin))
	if n.Open {
		took = ">" + took
	}
	label := clip(strings.Repeat("  ", depth)+n.Name, name)
	label += strings.Repeat(" ", name-utf8.RuneCountInString(label))
	head := fmt.Sprintf("%s %9s %9s  ", label, duration(n.Begin.Sub(s.begin)), took)
	text := attributes(n)
	if p.o.Width > 0 {
		text = clip(text, p.o.Width-utf8.RuneCountInString(head)-bar-2)
	}
	line := draw(s, n, bar)
	color := ""
	switch {
	case !p.o.Color:
	case n.Error != "":
		color = red
	case n.Open:
		color = yellow
	}
	switch {
	case color != "":
		p.printf("%s%s%s  %s%s\n", color, head, line, text, plain)
	case p.o.Color:
		p.printf("%s%s%s%s  %s\n", head, cyan, line, plain, text)
	default:
		p.printf("%s\n", strings.TrimRight(head+line+"  "+text, " "))
	}
}

// failure tells how a span failed, as a line of its own that is never cut: it is
// what somebody looks for.
func (p *printer) failure(n *node, depth int) {
	if n.Error == "" {
		return
	}
	text := strings.Repeat("  ", depth) + "! " + strings.Map(printable, n.Error)
	if p.o.Color {
		text = red + text + plain
	}
	p.printf("%s\n", text)
}

// draw returns the bar of a span, as wide as its section's.
func draw(s section, n *node, width int) string {
	total := s.end.Sub(s.begin)
	if total <= 0 {
		return strings.Repeat(" ", width)
	}
	at := func(t time.Time) float64 { return float64(t.Sub(s.begin)) / float64(total) * float64(width) }
	from := min(max(int(at(n.Begin)), 0), width-1)
	to := min(max(int(at(n.end)+0.5), from), width)
	full := strings.Repeat("█", to-from)
	if to == from {
		full, to = "▏", from+1
	}
	return strings.Repeat(" ", from) + full + strings.Repeat(" ", width-to)
}

// attributes is what is told beside the bar.
func attributes(n *node) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(n.Attributes)) {
		v := n.Attributes[k]
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r == ' ' || r == '"' || !unicode.IsPrint(r) }) {
			v = strconv.Quote(v)
		}
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, " ")
}

// printable makes a space of what could move a terminal's cursor.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}

// duration is short and of the same precision in all lines of a start.
func duration(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + "ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	default:
		return d.Round(time.Second).String()
	}
}

func widest(nodes []*node, depth int) (most int) {
	for _, n := range nodes {
		most = max(most, 2*depth+utf8.RuneCountInString(n.Name), widest(n.inside, depth+1))
	}
	return most
}

// clip shortens a text to so many characters.
func clip(s string, n int) string {
	if n <= 0 {
		return ""
	}
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
