package waterfall

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/carob-project/carob/pkg/tracing"
)

var base = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ms(n int) time.Time { return base.Add(time.Duration(n) * time.Millisecond) }

func span(id, parent, name string, from, to int) tracing.Span {
	return tracing.Span{ID: id, Parent: parent, Name: name, Begin: ms(from), Took: ms(to).Sub(ms(from))}
}

func show(t *testing.T, tr tracing.Trace, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tr, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// life is a pod that started, had a container restarted, and has begun to end.
func life() tracing.Trace {
	start, end := tracing.RootID("u1", tracing.Start).String(), tracing.RootID("u1", tracing.End).String()
	failed := span("c1", "c", "snapshot", 20, 30)
	failed.Error = "no space\nleft \033[2J"
	failed.Attributes = map[string]string{"image": "busybox:1.35", "text": "two words"}
	open := tracing.Span{ID: "e1", Parent: end, Name: "detach network", Begin: ms(70_010), Open: true}
	return tracing.Trace{
		TraceID: "t1", UID: "u1", Namespace: "default", Name: "web", Now: ms(70_050),
		Spans: []tracing.Span{
			span("a", start, "API create", 0, 10),
			span("c", start, "create container", 10, 50), failed,
			span(start, "", "pod start", 0, 100),
			span("l1", "", "start container", 65_000, 65_020), span("l2", "", "write status", 65_020, 65_030),
			open,
		},
		Others: nil,
	}
}

func TestWaterfall(t *testing.T) {
	want := `pod default/web  uid u1  trace t1

start, at 2026-01-02 03:04:05.000 UTC
SPAN                   AFTER      TOOK                                ATTRIBUTES
pod start              0.0ms   100.0ms  ████████████████████████████
  API create           0.0ms    10.0ms  ███
  create container    10.0ms    40.0ms    ████████████
    snapshot          20.0ms    10.0ms       ███                      image=busybox:1.35 text="…
    ! no space left  [2J

later, 1m5s after the start began, at 2026-01-02 03:05:10.000 UTC
SPAN                AFTER      TOOK                                   ATTRIBUTES
start container     0.0ms    20.0ms  █████████████████████
write status       20.0ms    10.0ms                      ███████████

end, at 2026-01-02 03:05:15.010 UTC
SPAN                 AFTER      TOOK                                  ATTRIBUTES
pod end              0.0ms   >40.0ms  ██████████████████████████████
  detach network     0.0ms   >40.0ms  ██████████████████████████████
`
	if got := show(t, life(), Options{Width: 96}); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestColorMarksFailuresAndWhatIsOpen(t *testing.T) {
	out := show(t, life(), Options{Width: 96, Color: true})
	for line := range strings.Lines(out) {
		switch {
		case strings.Contains(line, "snapshot"):
			if !strings.HasPrefix(line, red) || !strings.HasSuffix(line, plain+"\n") {
				t.Errorf("a failure is not red: %q", line)
			}
		case strings.Contains(line, "detach network"):
			if !strings.HasPrefix(line, yellow) {
				t.Errorf("what is under way is not yellow: %q", line)
			}
		case strings.Contains(line, "! no space left"):
			if !strings.HasPrefix(line, red) {
				t.Errorf("the failure is not red: %q", line)
			}
		case strings.Contains(line, red):
			t.Errorf("red: %q", line)
		}
	}
	if strings.Contains(out, "\033[2J") {
		t.Error("a text of the trace moves the cursor")
	}
}

func TestOneStage(t *testing.T) {
	if out := show(t, life(), Options{Stage: tracing.End}); strings.Contains(out, "API create") || !strings.Contains(out, "detach network") {
		t.Errorf("the end:\n%s", out)
	}
	tr := life()
	tr.Spans, tr.Dropped, tr.Others = tr.Spans[:1], 3, append(tr.Others, "u0")
	out := show(t, tr, Options{Stage: tracing.Later})
	for _, want := range []string{`nothing is known of the stage "later"`, "3 spans", "u0"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
}

// A trace whose parts are missing shows all the same: each span once, and no
// line is wider than the terminal.
func TestWhateverIsMissing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := life()
		var kept []tracing.Span
		for _, s := range tr.Spans {
			if rapid.Bool().Draw(rt, "kept") {
				s.Took = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "took"))
				kept = append(kept, s)
			}
		}
		tr.Spans = kept
		width := rapid.IntRange(0, 200).Draw(rt, "width")
		out := show(t, tr, Options{Width: width})
		for _, s := range kept {
			n := 0
			for line := range strings.Lines(out) {
				if f := strings.TrimLeft(line, " "); strings.HasPrefix(f, s.Name+" ") {
					n++
				}
			}
			if n != 1 {
				rt.Fatalf("%q shows %d times:\n%s", s.Name, n, out)
			}
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "ms ") && width >= 80 && utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > width {
				rt.Fatalf("wider than %d: %q", width, line)
			}
		}
	})
}
