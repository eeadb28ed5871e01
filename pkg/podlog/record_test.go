package podlog

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseRecord(t *testing.T) {
	at := time.Date(2026, 11, 24, 2, 16, 38, 123456789, time.UTC)
	for _, tc := range []struct {
		name, line string
		want       Record
		bad        bool
	}{
		{name: "full", line: "2026-11-24T02:16:38.123456789Z stdout F hello world\n", want: Record{Time: at, Stream: Stdout, Content: []byte("hello world")}},
		{name: "partial", line: "2026-11-24T02:16:38.123456789Z stderr P x", want: Record{Time: at, Stream: Stderr, Partial: true, Content: []byte("x")}},
		{name: "more tags", line: "2026-11-24T02:16:38.123456789Z stderr P:new:tags x", want: Record{Time: at, Stream: Stderr, Partial: true, Content: []byte("x")}},
		{name: "empty content", line: "2026-11-24T02:16:38.123456789Z stdout F \n", want: Record{Time: at, Stream: Stdout, Content: []byte{}}},
		{name: "zone", line: "2026-11-24T03:16:38.123456789+01:00 stdout F a", want: Record{Time: at, Stream: Stdout, Content: []byte("a")}},
		{name: "stream", line: "2026-11-24T02:16:38.123456789Z stdin F a", bad: true},
		{name: "tag", line: "2026-11-24T02:16:38.123456789Z stdout X a", bad: true},
		{name: "no content", line: "2026-11-24T02:16:38.123456789Z stdout F", bad: true},
		{name: "time", line: "yesterday stdout F a", bad: true},
		{name: "empty", line: "", bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseRecord([]byte(tc.line))
			if (err != nil) != tc.bad {
				t.Fatalf("error %v", err)
			}
			if tc.bad {
				return
			}
			if !got.Time.Equal(tc.want.Time) {
				t.Errorf("time %v", got.Time)
			}
			got.Time, tc.want.Time = time.Time{}, time.Time{}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzParseRecord: what is parsed is written the same way, and read again as the
// same record.
func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("2026-11-24T02:16:38.123456789Z stdout F hello\n"))
	f.Add([]byte("2026-11-24T02:16:38Z stderr P:a \n"))
	f.Add([]byte("  F \n"))
	f.Add([]byte("0000-01-01T00:00:00+23:59 stdout F a"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			return
		}
		if y := r.Time.UTC().Year(); y < 0 || y > 9999 {
			return // such a time has no text in this format
		}
		again, err := ParseRecord(r.AppendTo(nil))
		if err != nil {
			t.Fatalf("%q: %v", r.AppendTo(nil), err)
		}
		if !again.Time.Equal(r.Time) || again.Stream != r.Stream || again.Partial != r.Partial || !bytes.Equal(again.Content, r.Content) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}

// TestAppendRecordsKeepsBytes: whatever the output is and however it comes, the
// records hold exactly it, in lines of bounded size.
func TestAppendRecordsKeepsBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.OneOf(
			rapid.Just([]byte("\n")),
			rapid.SliceOfN(rapid.Byte(), 0, 40),
			rapid.Custom(func(t *rapid.T) []byte {
				return bytes.Repeat([]byte{'x'}, rapid.IntRange(MaxLine-2, 2*MaxLine+2).Draw(t, "n"))
			}),
		)).Draw(t, "pieces")
		limit := rapid.IntRange(1, 3*MaxLine).Draw(t, "out")
		var pipe, want, log []byte
		turn := func(flush bool) bool {
			f := appendRecords(nil, pipe, time.Unix(1, 0), Stdout, limit, flush)
			pipe, log = pipe[f.consumed:], append(log, f.out...)
			if len(f.out) > limit+MaxLine+100 {
				t.Fatalf("batch of %d bytes", len(f.out))
			}
			return f.consumed > 0
		}
		for _, p := range pieces {
			pipe, want = append(pipe, p...), append(want, p...)
			for turn(false) {
			}
			if len(pipe) > MaxLine || bytes.IndexByte(pipe, '\n') >= 0 {
				t.Fatalf("%d bytes left", len(pipe))
			}
		}
		for turn(true) {
		}
		if got := contents(t, log); !bytes.Equal(got, want) || len(pipe) > 0 {
			t.Fatalf("%d bytes in, %d out, %d left", len(want), len(got), len(pipe))
		}
	})
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// contents returns the output from which the records were made.
func contents(t fataler, log []byte) []byte {
	t.Helper()
	var got []byte
	for len(log) > 0 {
		i := bytes.IndexByte(log, '\n') + 1
		r, err := ParseRecord(log[:i])
		if err != nil {
			t.Fatalf("%q: %v", log[:i], err)
		}
		got, log = r.source(got), log[i:]
	}
	return got
}

func TestLastBatch(t *testing.T) {
	at := func(n int64) time.Time { return time.Unix(n, 1).UTC() }
	rec := func(n int64, s Stream, partial bool, text string) []byte {
		return Record{Time: at(n), Stream: s, Partial: partial, Content: []byte(text)}.AppendTo(nil)
	}
	log := bytes.Join([][]byte{
		rec(1, Stdout, false, "a"), rec(2, Stdout, false, "b"), rec(3, Stdout, true, "c"), rec(3, Stdout, false, "d"),
	}, nil)
	for _, tc := range []struct {
		stream Stream
		time   int64
		want   string
	}{
		{Stdout, 3, "cd\n"}, {Stderr, 3, ""}, {Stdout, 2, ""}, {Stdout, 4, ""},
	} {
		if got := string(lastBatch(log, tc.stream, at(tc.time))); got != tc.want {
			t.Errorf("%s %d: %q", tc.stream, tc.time, got)
		}
	}
	if got := lastTime(append(log, "garbage\n"...)); !got.Equal(at(3)) {
		t.Errorf("last time %v", got)
	}
}
