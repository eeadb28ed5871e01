package podlog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// bench is a place for one attempt.
type bench struct {
	t    testing.TB
	all  *Copiers
	a    Attempt
	pipe [2]*os.File // writing ends, as a shim has them
}

func newBench(t testing.TB, o Options) *bench {
	t.Helper()
	dir := t.TempDir()
	out, errs, err := MakeFIFOs(filepath.Join(dir, "io"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, a: Attempt{Stdout: out, Stderr: errs, Path: Path(dir, "app", 0)}}
	b.all, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.all.Close)
	for i, p := range []string{out, errs} {
		if b.pipe[i], err = os.OpenFile(p, os.O_RDWR, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.pipe[i].Close() })
	}
	return b
}

func (b *bench) start() *Copier {
	b.t.Helper()
	c, err := b.all.Start(b.t.Context(), b.a)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) finish(c *Copier) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := c.Finish(ctx); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) write(i int, text string) {
	b.t.Helper()
	if _, err := b.pipe[i].WriteString(text); err != nil {
		b.t.Fatal(err)
	}
}

// read returns the log as a client sees it.
func (b *bench) read(o ReadOptions) string {
	b.t.Helper()
	var out bytes.Buffer
	if err := Read(b.t.Context(), b.a.Path, o, nil, &out); err != nil {
		b.t.Fatal(err)
	}
	return out.String()
}

// await waits until the log holds text.
func (b *bench) await(text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	w := &until{text: text, found: cancel}
	err := Read(ctx, b.a.Path, ReadOptions{Follow: true}, nil, w)
	if !strings.Contains(w.got.String(), text) {
		b.t.Fatalf("%q has not come: %v; there is %q", text, err, w.got.String())
	}
}

type until struct {
	got   strings.Builder
	text  string
	found func()
}

func (u *until) Write(b []byte) (int, error) {
	u.got.Write(b)
	// The text may have come in two pieces.
	if s := u.got.String(); strings.Contains(s[max(0, len(s)-len(b)-len(u.text)):], u.text) {
		u.found()
	}
	return len(b), nil
}

func TestMakeFIFOsTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if _, _, err := MakeFIFOs(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "stdout")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stdout"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := MakeFIFOs(dir); err == nil {
		t.Error("a file in the place of a FIFO is accepted")
	}
}

func TestCopy(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	b.write(0, "one\ntwo\nthr")
	b.await("two\n")
	b.write(1, "err\n")
	b.await("err\n")
	if got := b.read(ReadOptions{}); got != "one\ntwo\nerr\n" {
		t.Errorf("an unterminated line shows: %q", got)
	}
	b.write(0, "ee\nlast")
	b.await("three\n")
	b.finish(c)
	if got := b.read(ReadOptions{}); got != "one\ntwo\nerr\nthree\nlast" {
		t.Errorf("got %q", got)
	}
	raw, err := os.ReadFile(b.a.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte(" stdout P last\n")) || !bytes.Contains(raw, []byte("Z stderr F err\n")) {
		t.Errorf("file:\n%s", raw)
	}
	if n := b.all.Counts(); n.Records != 5 || n.Dropped != 0 {
		t.Errorf("counts %+v", n)
	}
	if n := testutil.CollectAndCount(b.all); n != 4 {
		t.Errorf("%d metrics", n)
	}
}

// TestWaitingCostsNothing: an unterminated line in the pipe does not make the
// goroutine spin.
func TestWaitingCostsNothing(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	b.write(0, "x\nunterminated")
	b.await("x\n")
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	select {
	case <-c.Done():
		t.Fatal("ended")
	case <-time.After(300 * time.Millisecond):
	}
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	if used > 100*time.Millisecond {
		t.Errorf("%v of CPU while waiting", used)
	}
	b.finish(c)
}

// TestCloseLeavesTheRest: a Copier that is closed leaves what it has not taken,
// and the next one goes on without a gap and without a repetition.
func TestCloseLeavesTheRest(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	b.write(0, "a\nb")
	b.await("a\n")
	c.Close()
	b.write(0, "c\nd\n")
	c = b.start()
	b.finish(c)
	if got := b.read(ReadOptions{}); got != "a\nbc\nd\n" {
		t.Errorf("got %q", got)
	}
}

// TestResumeAfterWriteBeforeConsume puts the files into the state in which a kill
// between the write and the consumption leaves them.
func TestResumeAfterWriteBeforeConsume(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	line := func(text string) string {
		return string(Record{Time: at, Stream: Stdout, Content: []byte(text)}.AppendTo(nil))
	}
	for _, tc := range []struct {
		name, file, pipe string
		mark             bool
		want             string
	}{
		{"written, not consumed", line("a") + line("a"), "a\na\n", true, "a\na\n"},
		{"written, not consumed, more came", line("a"), "a\na\n", true, "a\na\n"},
		{"written and consumed", line("a"), "a\n", false, "a\na\n"},
		{"half written", line("a") + line("b")[:20], "a\nb\n", true, "a\nb\n"},
		{"half of the first record", line("a")[:7], "a\nb\n", true, "a\nb\n"},
		{"marked, not written", "", "a\nb\n", true, "a\nb\n"},
		{"something else in the pipe", line("x"), "a\n", true, "x\na\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, Options{})
			if err := os.MkdirAll(filepath.Dir(b.a.Path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(b.a.Path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			b.write(0, tc.pipe)
			if tc.mark {
				p, err := openFIFO(b.a.Stdout)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.mark(at); err != nil {
					t.Fatal(err)
				}
				p.close()
			}
			b.finish(b.start())
			if got := b.read(ReadOptions{}); got != tc.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestNoMarksRepeatsRatherThanLoses(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOATIME, ""); err != nil {
		t.Fatalf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if ok, err := probeMarks(dir); err != nil || ok {
		t.Fatalf("noatime was not noticed: %v %v", ok, err)
	}
	out, errs, err := MakeFIFOs(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Options{})
	b.a.Stdout, b.a.Stderr = out, errs
	w, err := os.OpenFile(out, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	for range 2 {
		if _, err := w.WriteString("same\n"); err != nil {
			t.Fatal(err)
		}
		b.finish(b.start())
	}
	if got := b.read(ReadOptions{}); got != "same\nsame\n" {
		t.Errorf("got %q", got)
	}
}

// TestFullPipeOfManyPieces: a pipe can be full with less than a line in it, if
// each piece takes a slot of its own. That must not stop the container.
func TestFullPipeOfManyPieces(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	if _, err := unix.FcntlInt(b.pipe[0].Fd(), unix.F_SETFL, unix.O_DIRECT); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for i := range 2000 {
		text := fmt.Sprintf("%d,", i)
		want.WriteString(text)
		b.write(0, text)
	}
	b.finish(c)
	if got := b.read(ReadOptions{}); got != want.String() {
		t.Errorf("%d bytes of %d", len(got), want.Len())
	}
}

func TestRotation(t *testing.T) {
	b := newBench(t, Options{MaxSize: 2000, MaxFiles: 3})
	c := b.start()
	for i := range 300 {
		b.write(0, fmt.Sprintf("line %d\n", i))
		if i%20 == 19 {
			b.await(fmt.Sprintf("line %d\n", i))
		}
	}
	b.finish(c)
	old, err := rotated(b.a.Path)
	if err != nil || len(old) != 2 {
		t.Fatalf("rotated files %v, %v", old, err)
	}
	got := strings.Split(strings.TrimSuffix(b.read(ReadOptions{}), "\n"), "\n")
	first := 300 - len(got)
	for i, line := range got {
		if line != fmt.Sprintf("line %d", first+i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if len(got) < 40 {
		t.Errorf("only %d lines are left", len(got))
	}
	if err := Remove(b.a.Path); err != nil {
		t.Fatal(err)
	}
	if e, _ := os.ReadDir(filepath.Dir(b.a.Path)); len(e) != 0 {
		t.Errorf("left: %v", e)
	}
	if err := Remove(b.a.Path); err != nil {
		t.Error("removing twice:", err)
	}
}

// TestFullDisk: the container goes on, lines are counted, and the log resumes.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	b := newBench(t, Options{})
	b.a.Path = Path(dir, "app", 0)
	c := b.start()
	b.write(0, "first\n")
	b.await("first\n")
	filler := filepath.Join(dir, "filler")
	_ = os.WriteFile(filler, make([]byte, 1<<20), 0o600) // as much as there is room
	line := strings.Repeat("x", 99) + "\n"
	for range 5000 { // more than the pipe holds, with what the last page takes
		b.write(0, strings.Repeat(line, 10))
	}
	// What is in the pipe still would fill the disk again.
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := unix.IoctlGetInt(int(b.pipe[0].Fd()), unix.TIOCINQ)
		if err == nil && n == 0 && b.all.Counts().Dropped > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d bytes are still in the pipe, %+v", n, b.all.Counts())
		}
		runtime.Gosched()
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.write(0, "again\n")
	b.await("again\n")
	b.finish(c)
	n := b.all.Counts()
	got := strings.Count(b.read(ReadOptions{}), "\n")
	if uint64(got) != n.Records || !strings.HasPrefix(b.read(ReadOptions{}), "first\n") {
		t.Errorf("%d lines, %+v", got, n)
	}
}

// TestAnyBytesAnyChunks: what is written comes out the same.
func TestAnyBytesAnyChunks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, Options{MaxSize: int64(rapid.IntRange(1000, 100000).Draw(rt, "size")), MaxFiles: 1000})
		c := b.start()
		var want strings.Builder
		chunk := rapid.OneOf(
			rapid.SliceOfN(rapid.Byte(), 1, 50), rapid.Just([]byte("\n")),
			rapid.Custom(func(t *rapid.T) []byte {
				return bytes.Repeat([]byte("0123456789"), rapid.IntRange(1000, 4000).Draw(t, "n"))
			}))
		for range rapid.IntRange(0, 30).Draw(rt, "chunks") {
			text := string(chunk.Draw(rt, "chunk"))
			want.WriteString(text)
			b.write(0, text)
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				c.Close()
				c = b.start()
			}
		}
		b.finish(c)
		if got := b.read(ReadOptions{}); got != want.String() {
			rt.Fatalf("got %d bytes of %d", len(got), want.Len())
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			bench := newBench(b, Options{})
			c := bench.start()
			chunk := strings.Repeat(strings.Repeat("x", size-1)+"\n", 32<<10/size)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				bench.write(0, chunk)
			}
			bench.finish(c)
		})
	}
}

func BenchmarkAppendRecords(b *testing.B) {
	in := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 2000)
	out := make([]byte, 0, 1<<20)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		appendRecords(out, in, time.Unix(1, 0), Stdout, maxOut, false)
	}
}
