package podlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ReadOptions say what of a log is wanted, and how.
type ReadOptions struct {
	// Follow goes on, over rotations, until the attempt has ended.
	Follow bool
	// Since leaves out lines that begin before it. Zero: none.
	Since time.Time
	// TailLines is how many lines at the end are wanted. Nil: all. It is
	// applied before Since.
	TailLines *int64
	// LimitBytes ends the output after so many bytes. Nil: no limit.
	LimitBytes *int64
	// Timestamps puts the time of each line and a space before it.
	Timestamps bool
	// Stream is one of the streams; empty: both.
	Stream Stream
}

// FromPodLogOptions translates what a client of the API asks for.
func FromPodLogOptions(o *corev1.PodLogOptions, now time.Time) (ReadOptions, error) {
	r := ReadOptions{
		Follow: o.Follow, TailLines: o.TailLines, LimitBytes: o.LimitBytes, Timestamps: o.Timestamps,
	}
	switch {
	case o.SinceSeconds != nil:
		r.Since = now.Add(-time.Duration(min(*o.SinceSeconds, math.MaxInt64/int64(time.Second))) * time.Second)
	case o.SinceTime != nil:
		r.Since = o.SinceTime.Time
	}
	if o.Stream != nil {
		switch *o.Stream {
		case corev1.LogStreamAll, "":
		case corev1.LogStreamStdout:
			r.Stream = Stdout
		case corev1.LogStreamStderr:
			r.Stream = Stderr
		default:
			return ReadOptions{}, fmt.Errorf("unknown log stream %q", *o.Stream)
		}
	}
	return r, nil
}

func (o ReadOptions) wants(s Stream) bool { return o.Stream == "" || o.Stream == s }

// Read writes the log of an attempt to w, its rotated files included, the pieces
// of long lines joined, as `kubectl logs` shows it. path is that of the current
// file.
//
// With Follow it waits for more until done is closed and the rest has been read;
// a nil done lasts for ever. When ctx ends, Read returns its error. Without
// Follow, done is not looked at. A log that does not exist gives an error that
// wraps fs.ErrNotExist; with Follow it is waited for, if its directory exists.
func Read(ctx context.Context, path string, o ReadOptions, done <-chan struct{}, w io.Writer) error {
	if o.LimitBytes != nil && *o.LimitBytes <= 0 {
		return nil
	}
	var watch *watcher
	if o.Follow {
		var err error
		if watch, err = newWatcher(path); err != nil {
			return err
		}
		defer watch.close()
	}
	files, err := openAll(path)
	if err != nil && (!o.Follow || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	from, err := wanted(files, o)
	if err != nil {
		closeAll(files)
		return err
	}
	cur := newCursor(path, files, from.first())
	defer cur.close()
	out := newJoiner(o, w)
	for ended := !o.Follow; ; {
		err := copyRecords(ctx, cur, from, out)
		if errors.Is(err, errEnough) {
			return out.flush()
		}
		if err != nil {
			return err
		}
		if ended {
			return out.end()
		}
		if err := out.flush(); err != nil {
			return err
		}
		if ended, err = watch.wait(ctx, done); err != nil {
			return err
		}
	}
}

// copyRecords gives all records that are there to out.
func copyRecords(ctx context.Context, cur *cursor, from starts, out *joiner) error {
	for i := 0; ; i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line, at, err := cur.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a log: %w", err)
		}
		r, err := ParseRecord(line)
		if err != nil {
			continue // torn by a power cut, or not ours
		}
		if !out.opts.wants(r.Stream) || at.before(from[r.Stream]) {
			continue
		}
		if err := out.record(r); err != nil {
			return err
		}
	}
}

// errEnough says that the byte limit has been reached.
var errEnough = errors.New("enough")

// maxHeld is how much of an unfinished line is held back to be written as one.
const maxHeld = 1 << 20

// joiner puts the pieces of lines together and writes them.
type joiner struct {
	opts   ReadOptions
	w      *bufio.Writer
	remain int64
	held   map[Stream]*heldLine
	seq    int
	// eol is a newline; a literal would be allocated for each line.
	eol []byte
}

// heldLine is the beginning of a line whose end has not been seen.
type heldLine struct {
	time time.Time
	data []byte
	// begun: a part of the line has been written already.
	begun bool
	// seq orders the lines by their last pieces.
	seq int
}

func newJoiner(o ReadOptions, w io.Writer) *joiner {
	j := &joiner{opts: o, w: bufio.NewWriterSize(w, 32<<10), remain: math.MaxInt64, held: map[Stream]*heldLine{}, eol: []byte{'\n'}}
	if o.LimitBytes != nil {
		j.remain = *o.LimitBytes
	}
	return j
}

func (j *joiner) record(r Record) error {
	h := j.held[r.Stream]
	if !r.Partial && h == nil {
		if err := j.head(r.Time); err != nil {
			return err
		}
		return j.line(r)
	}
	if h == nil {
		h = &heldLine{time: r.Time}
		j.held[r.Stream] = h
	}
	if r.Partial {
		j.seq++
		h.seq = j.seq
		h.data = append(h.data, r.Content...)
		if len(h.data) < maxHeld {
			return nil
		}
		return j.release(h)
	}
	delete(j.held, r.Stream)
	if err := j.release(h); err != nil {
		return err
	}
	if h.skipped(j.opts.Since) {
		return nil
	}
	if err := j.write(r.Content); err != nil {
		return err
	}
	return j.write(j.eol)
}

// line writes a whole line whose head is written.
func (j *joiner) line(r Record) error {
	if r.Time.Before(j.opts.Since) {
		return nil
	}
	if err := j.write(r.Content); err != nil {
		return err
	}
	return j.write(j.eol)
}

func (h *heldLine) skipped(since time.Time) bool { return h.time.Before(since) }

// release writes what is held of a line.
func (j *joiner) release(h *heldLine) error {
	data, begun := h.data, h.begun
	h.data, h.begun = h.data[:0], true
	if h.skipped(j.opts.Since) {
		return nil
	}
	if !begun {
		if err := j.head(h.time); err != nil {
			return err
		}
	}
	return j.write(data)
}

// stampLayout is how Kubernetes prints the time of a line.
const stampLayout = "2006-01-02T15:04:05.000000000Z07:00 "

func (j *joiner) head(t time.Time) error {
	if !j.opts.Timestamps || t.Before(j.opts.Since) {
		return nil
	}
	var b [48]byte
	return j.write(t.UTC().AppendFormat(b[:0], stampLayout))
}

func (j *joiner) write(b []byte) error {
	n := min(int64(len(b)), j.remain)
	j.remain -= n
	if _, err := j.w.Write(b[:n]); err != nil {
		return err
	}
	if j.remain == 0 {
		return errEnough
	}
	return nil
}

func (j *joiner) flush() error { return j.w.Flush() }

// end writes the lines that never ended, that with the latest piece last.
func (j *joiner) end() error {
	open := slices.SortedFunc(maps.Values(j.held), func(a, b *heldLine) int { return a.seq - b.seq })
	for _, h := range open {
		if err := j.release(h); err != nil && !errors.Is(err, errEnough) {
			return err
		}
	}
	return j.flush()
}

// Tail returns the last lines of a log, and of these at most the last limit
// bytes, as a termination message shows them. No log is an empty one.
func Tail(ctx context.Context, path string, lines int, limit int64) (string, error) {
	n := int64(lines)
	last := lastBytes{limit: int(limit)}
	err := Read(ctx, path, ReadOptions{TailLines: &n}, nil, &last)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return string(last.data), nil
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	data  []byte
	limit int
}

func (l *lastBytes) Write(b []byte) (int, error) {
	l.data = append(l.data, b...)
	if over := len(l.data) - l.limit; over > 0 {
		l.data = l.data[over:]
	}
	return len(b), nil
}
