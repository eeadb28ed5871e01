package podlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func ptr[T any](v T) *T { return &v }

var epoch = time.Date(2026, 11, 24, 0, 0, 0, 500000000, time.UTC)

// logFiles writes records into a current file and rotated ones.
func logFiles(t interface{ Fatal(...any) }, dir string, files ...[]Record) string {
	path := filepath.Join(dir, "0.log")
	for i, recs := range files {
		var data []byte
		for _, r := range recs {
			data = r.AppendTo(data)
		}
		name := path
		if i < len(files)-1 {
			name += "." + epoch.Add(time.Duration(i)*time.Second).Format(rotatedLayout)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRead(t *testing.T) {
	rec := func(sec int, s Stream, partial bool, text string) Record {
		return Record{Time: epoch.Add(time.Duration(sec) * time.Second), Stream: s, Partial: partial, Content: []byte(text)}
	}
	path := logFiles(t, t.TempDir(),
		[]Record{rec(0, Stdout, false, "a"), rec(1, Stderr, false, "b"), rec(2, Stdout, true, "c")},
		[]Record{rec(3, Stderr, false, "d"), rec(4, Stdout, true, "C")},
		[]Record{rec(5, Stdout, false, "!"), rec(6, Stdout, false, ""), rec(7, Stderr, true, "end")},
	)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	// A line that a power cut tore, and one that is being written.
	_, _ = f.WriteString("\x00\x00\x00\n2026-11-24T00:00:09Z stdout F half")
	_ = f.Close()
	at := func(sec int) time.Time { return epoch.Add(time.Duration(sec) * time.Second) }
	for _, tc := range []struct {
		name string
		o    ReadOptions
		want string
	}{
		{"all", ReadOptions{}, "a\nb\nd\ncC!\n\nend"},
		{"stdout", ReadOptions{Stream: Stdout}, "a\ncC!\n\n"},
		{"stderr", ReadOptions{Stream: Stderr}, "b\nd\nend"},
		{"timestamps", ReadOptions{Timestamps: true, TailLines: ptr(int64(2))},
			"2026-11-24T00:00:06.500000000Z \n2026-11-24T00:00:07.500000000Z end"},
		{"tail 0", ReadOptions{TailLines: ptr(int64(0))}, ""},
		{"tail 1", ReadOptions{TailLines: ptr(int64(1))}, "end"},
		{"tail 3 with pieces in other files", ReadOptions{TailLines: ptr(int64(3))}, "cC!\n\nend"},
		{"tail 4", ReadOptions{TailLines: ptr(int64(4))}, "d\ncC!\n\nend"},
		{"tail 100", ReadOptions{TailLines: ptr(int64(100))}, "a\nb\nd\ncC!\n\nend"},
		{"tail of a stream", ReadOptions{TailLines: ptr(int64(2)), Stream: Stdout}, "cC!\n\n"},
		{"since", ReadOptions{Since: at(3)}, "d\n\nend"},
		{"since its very time", ReadOptions{Since: at(2)}, "d\ncC!\n\nend"},
		{"since in the future", ReadOptions{Since: at(100)}, ""},
		{"since and tail", ReadOptions{Since: at(6), TailLines: ptr(int64(3))}, "\nend"},
		{"limit", ReadOptions{LimitBytes: ptr(int64(3))}, "a\nb"},
		{"limit at a line's end", ReadOptions{LimitBytes: ptr(int64(4))}, "a\nb\n"},
		{"limit in a line of pieces", ReadOptions{LimitBytes: ptr(int64(2)), Stream: Stdout, TailLines: ptr(int64(2))}, "cC"},
		{"limit in a timestamp", ReadOptions{LimitBytes: ptr(int64(4)), Timestamps: true}, "2026"},
		{"limit 0", ReadOptions{LimitBytes: ptr(int64(0))}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := Read(t.Context(), path, tc.o, nil, &out); err != nil {
				t.Fatal(err)
			}
			if out.String() != tc.want {
				t.Errorf("got %q, want %q", out.String(), tc.want)
			}
		})
	}
}

func TestReadNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	if err := Read(t.Context(), path, ReadOptions{}, nil, &bytes.Buffer{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if s, err := Tail(t.Context(), path, 10, 10); s != "" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	done := make(chan struct{})
	close(done)
	if err := Read(t.Context(), path, ReadOptions{Follow: true}, done, &bytes.Buffer{}); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestTailLikeTail: the last n lines are the last n lines of everything, however
// they are cut into records and files.
func TestTailLikeTail(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		var files [][]Record
		for range rapid.IntRange(1, 4).Draw(t, "files") {
			files = append(files, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
				return Record{
					Time:    epoch,
					Stream:  rapid.SampledFrom([]Stream{Stdout, Stderr}).Draw(t, "s"),
					Partial: rapid.IntRange(0, 3).Draw(t, "p") == 0,
					Content: []byte(strings.Repeat(rapid.StringN(1, 1, 1).Filter(func(s string) bool { return s != "\n" }).Draw(t, "c"),
						rapid.SampledFrom([]int{0, 1, 5, 30000}).Draw(t, "n"))),
				}
			}), 0, 20).Draw(t, "records"))
		}
		sub := filepath.Join(dir, fmt.Sprint(n))
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		path := logFiles(t, sub, files...)
		stream := rapid.SampledFrom([]Stream{"", Stdout, Stderr}).Draw(t, "stream")
		k := rapid.Int64Range(0, 10).Draw(t, "tail")
		want := lastLines(slices.Concat(files...), stream, int(k))
		var out bytes.Buffer
		if err := Read(context.Background(), path, ReadOptions{TailLines: &k, Stream: stream}, nil, &out); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Fatalf("got %d bytes, want %d", out.Len(), len(want))
		}
		_ = os.RemoveAll(sub)
	})
}

// lastLines is a plain model of which are the last k lines of a log: a line is
// where its last piece is, and those without an end are shown after all others.
func lastLines(recs []Record, only Stream, k int) string {
	type line struct {
		text string
		last int
		open bool
	}
	var lines []*line
	open := map[Stream]*line{}
	for i, r := range recs {
		if only != "" && r.Stream != only {
			continue
		}
		l := open[r.Stream]
		if l == nil {
			l = &line{open: true}
			lines = append(lines, l)
			open[r.Stream] = l
		}
		l.text += string(r.Content)
		l.last = i
		if !r.Partial {
			l.text += "\n"
			l.open = false
			delete(open, r.Stream)
		}
	}
	slices.SortFunc(lines, func(a, b *line) int { return a.last - b.last })
	var closed, unclosed string
	for _, l := range lines[max(0, len(lines)-k):] {
		if l.open {
			unclosed += l.text
		} else {
			closed += l.text
		}
	}
	return closed + unclosed
}

// TestFollowOverRotation follows a log that rotates all the time to its end.
func TestFollowOverRotation(t *testing.T) {
	b := newBench(t, Options{MaxSize: 4000, MaxFiles: 10000})
	c := b.start()
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { ended <- Read(t.Context(), b.a.Path, ReadOptions{Follow: true}, c.Done(), &out) }()
	var want strings.Builder
	for i := range 3000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		b.write(0, line)
		if rand.IntN(100) == 0 {
			b.await(line)
		}
	}
	want.WriteString("end")
	b.write(0, "end")
	b.finish(c)
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("does not end")
	}
	if out.String() != want.String() {
		t.Errorf("%d bytes of %d", out.Len(), want.Len())
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Read(ctx, b.a.Path, ReadOptions{Follow: true}, nil, &bytes.Buffer{}) }()
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
}

func TestTail(t *testing.T) {
	var recs []Record
	for i := range 200 {
		recs = append(recs, Record{Time: epoch, Stream: Stdout, Content: fmt.Appendf(nil, "line %d", i)})
	}
	path := logFiles(t, t.TempDir(), recs)
	if s, err := Tail(t.Context(), path, 2, 1000); s != "line 198\nline 199\n" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	if s, err := Tail(t.Context(), path, 80, 12); s != "98\nline 199\n" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
}

func TestFromPodLogOptions(t *testing.T) {
	now := epoch
	got, err := FromPodLogOptions(&corev1.PodLogOptions{SinceSeconds: ptr(int64(60)), Stream: ptr(corev1.LogStreamStderr), Follow: true}, now)
	if err != nil || !got.Since.Equal(now.Add(-time.Minute)) || got.Stream != Stderr || !got.Follow {
		t.Errorf("%+v, %v", got, err)
	}
	at := metav1.NewTime(now)
	got, err = FromPodLogOptions(&corev1.PodLogOptions{SinceTime: &at, Stream: ptr(corev1.LogStreamAll)}, now)
	if err != nil || !got.Since.Equal(now) || got.Stream != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := FromPodLogOptions(&corev1.PodLogOptions{Stream: ptr("Both")}, now); err == nil {
		t.Error("an unknown stream is accepted")
	}
	if got, err := FromPodLogOptions(&corev1.PodLogOptions{SinceSeconds: ptr(int64(1) << 62)}, now); err != nil || got.Since.After(now) {
		t.Errorf("%v %v", got.Since, err)
	}
}

// benchLog writes a log of about 10 MiB.
func benchLog(b *testing.B) string {
	recs := make([]Record, 100_000)
	for i := range recs {
		recs[i] = Record{Time: epoch, Stream: Stdout, Content: []byte(strings.Repeat("x", 60))}
	}
	path := logFiles(b, b.TempDir(), recs)
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(st.Size())
	b.ReportAllocs()
	return path
}

func BenchmarkRead(b *testing.B) {
	path := benchLog(b)
	for b.Loop() {
		if err := Read(b.Context(), path, ReadOptions{}, nil, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadTail(b *testing.B) {
	path := benchLog(b)
	for b.Loop() {
		if err := Read(b.Context(), path, ReadOptions{TailLines: ptr(int64(100))}, nil, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
