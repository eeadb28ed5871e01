package podlog

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// place is where a record begins: in which of the files, and at which byte.
type place struct {
	file   int
	offset int64
}

func (p place) before(q place) bool {
	return p.file < q.file || p.file == q.file && p.offset < q.offset
}

// starts says from where on the records of a stream are wanted. An absent
// stream is wanted from the beginning.
type starts map[Stream]place

// first returns the place before which nothing is wanted.
func (s starts) first() place {
	out, ok := s[Stdout]
	err, also := s[Stderr]
	switch {
	case !ok || !also:
		return place{}
	case out.before(err):
		return out
	default:
		return err
	}
}

// wanted finds where the last TailLines lines begin, per stream, since the
// pieces of their lines may lie between one another.
func wanted(files []*os.File, o ReadOptions) (starts, error) {
	if o.TailLines == nil {
		return nil, nil
	}
	t := tailer{left: max(*o.TailLines, 0), opts: o, seen: map[Stream]bool{}, starts: starts{}}
	for _, s := range []Stream{Stdout, Stderr} {
		if !o.wants(s) {
			// Not shown at all; do not search for it.
			t.starts[s] = place{file: len(files)}
		}
	}
	for i := len(files) - 1; i >= 0; i-- {
		st, err := files[i].Stat()
		if err != nil {
			return nil, err
		}
		if t.left == 0 && i == len(files)-1 {
			t.close(place{i, st.Size()})
		}
		err = backward(files[i], st.Size(), func(off int64, line []byte) bool {
			return t.record(place{i, off}, line)
		})
		if err != nil {
			return nil, err
		}
		if t.complete() {
			break
		}
	}
	return t.starts, nil
}

// tailer sees the records of a log from the last to the first.
type tailer struct {
	left   int64
	opts   ReadOptions
	seen   map[Stream]bool
	starts starts
}

func (t *tailer) complete() bool { return len(t.starts) == 2 }

// close ends the search for streams of which nothing has been seen.
func (t *tailer) close(at place) {
	for _, s := range []Stream{Stdout, Stderr} {
		if _, ok := t.starts[s]; !ok && !t.seen[s] {
			t.starts[s] = at
		}
	}
}

// record takes the next record backwards and says whether to go on.
func (t *tailer) record(at place, line []byte) bool {
	if t.complete() {
		return false
	}
	if !bytes.HasSuffix(line, []byte{'\n'}) {
		return true
	}
	r, err := ParseRecord(line)
	if err != nil {
		return true
	}
	if _, ok := t.starts[r.Stream]; ok {
		return true
	}
	if r.Partial && t.seen[r.Stream] {
		return true // an earlier piece of a line that counts
	}
	t.seen[r.Stream] = true
	if t.left == 0 {
		t.starts[r.Stream] = place{at.file, at.offset + int64(len(line))}
		return !t.complete()
	}
	if t.left--; t.left == 0 {
		t.close(at)
	}
	return true
}

// backward gives the lines of a file to fn, last first, until it returns false.
func backward(f *os.File, size int64, fn func(off int64, line []byte) bool) error {
	const block = 64 << 10
	var carry []byte
	for end := size; end > 0; {
		n := min(block, end)
		buf := make([]byte, n, int(n)+len(carry))
		if _, err := f.ReadAt(buf, end-n); err != nil && err != io.EOF {
			return fmt.Errorf("reading a log: %w", err)
		}
		buf = append(buf, carry...)
		end -= n
		for {
			i := lastLineEnd(buf[:len(buf)-1])
			if i == 0 {
				break
			}
			if !fn(end+int64(i), buf[i:]) {
				return nil
			}
			buf = buf[:i]
		}
		carry = buf
	}
	if len(carry) > 0 {
		fn(0, carry)
	}
	return nil
}
