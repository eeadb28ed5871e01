package podlog

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// reads returns what a tap gives next, waiting for as many bytes as want has.
func reads(t *testing.T, tap *Tap, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got strings.Builder
	for got.Len() < len(want) {
		s, data, err := tap.Next(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", got.String(), err)
		}
		if s == Stderr {
			got.WriteByte('!')
		}
		got.Write(data)
	}
	if got.String() != want {
		t.Fatalf("read %q, want %q", got.String(), want)
	}
}

func TestTap(t *testing.T) {
	b := newBench(t, Options{})
	c := b.start()
	first, err := c.Tap()
	if err != nil {
		t.Fatal(err)
	}
	b.write(0, "line\n$ ") // a prompt has no end
	reads(t, first, "line\n$ ")
	second, err := c.Tap()
	if err != nil {
		t.Fatal(err)
	}
	reads(t, second, "$ ")
	if first.Late() || !second.Late() {
		t.Errorf("late: %v %v", first.Late(), second.Late())
	}
	b.write(0, "ls\n")
	for _, tap := range []*Tap{first, second} {
		reads(t, tap, "ls\n")
	}
	b.write(1, "oops\n")
	reads(t, first, "!oops\n")
	second.Close()
	b.write(0, "no end")
	b.finish(c)
	reads(t, first, "no end")
	if _, _, err := first.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	late, err := c.Tap()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := late.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("a late tap: %v", err)
	}
	if got := b.read(ReadOptions{}); !strings.Contains(got, "$ ls\n") || !strings.Contains(got, "no end") {
		t.Errorf("the log: %q", got)
	}
}

func TestTapNeverDelays(t *testing.T) {
	b := newBench(t, Options{MaxSize: 1 << 30})
	c := b.start()
	tap, err := c.Tap()
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 1023) + "\n"
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range 24 << 10 { // 24 MiB, of which nobody reads any
			b.write(0, line)
		}
	}()
	select {
	case <-written:
	case <-time.After(time.Minute):
		t.Fatal("a reader that does not read stops the writer")
	}
	b.finish(c)
	n := 0
	for {
		_, data, err := tap.Next(t.Context())
		if err != nil {
			if !errors.Is(err, ErrTooSlow) {
				t.Error(err)
			}
			break
		}
		n += len(data)
	}
	if n == 0 || n > tapLimit {
		t.Errorf("%d bytes were kept", n)
	}
}
