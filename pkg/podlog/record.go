package podlog

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Stream names one of the two outputs of a container.
type Stream string

// The streams, as they stand in log files.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// MaxLine is the longest content of one record in bytes. A longer line becomes
// several records, all but the last of them partial.
const MaxLine = 16 << 10

// ErrRecord is wrapped by the errors of ParseRecord.
var ErrRecord = errors.New("not a log record")

// Record is one line of a log file.
type Record struct {
	Time   time.Time
	Stream Stream
	// Partial: the line goes on in a later record of the same stream.
	Partial bool
	// Content is without the line's end. It shares the parser's input.
	Content []byte
}

// ParseRecord reads one line of a log file, with or without the newline at its
// end. Tags beside the first are ignored, as the format demands.
func ParseRecord(line []byte) (Record, error) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return Record{}, fmt.Errorf("%w: no timestamp", ErrRecord)
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Record{}, fmt.Errorf("%w: no stream", ErrRecord)
	}
	tags, content, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Record{}, fmt.Errorf("%w: no tag", ErrRecord)
	}
	r := Record{Content: content}
	if err := r.Time.UnmarshalText(stamp); err != nil {
		return Record{}, fmt.Errorf("%w: timestamp: %w", ErrRecord, err)
	}
	switch {
	case string(stream) == string(Stdout):
		r.Stream = Stdout
	case string(stream) == string(Stderr):
		r.Stream = Stderr
	default:
		return Record{}, fmt.Errorf("%w: stream %q", ErrRecord, stream)
	}
	switch tag, _, _ := bytes.Cut(tags, []byte{':'}); {
	case string(tag) == "F":
	case string(tag) == "P":
		r.Partial = true
	default:
		return Record{}, fmt.Errorf("%w: tag %q", ErrRecord, tags)
	}
	return r, nil
}

// AppendTo appends the record as a line of a log file.
func (r Record) AppendTo(dst []byte) []byte {
	tag := byte('F')
	if r.Partial {
		tag = 'P'
	}
	dst = append(appendHead(dst, r.Time, r.Stream, tag), r.Content...)
	return append(dst, '\n')
}

func appendHead(dst []byte, t time.Time, s Stream, tag byte) []byte {
	dst = t.UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, ' ')
	dst = append(dst, s...)
	return append(dst, ' ', tag, ' ')
}

// source appends the bytes the container wrote for this record.
func (r Record) source(dst []byte) []byte {
	dst = append(dst, r.Content...)
	if r.Partial {
		return dst
	}
	return append(dst, '\n')
}

// formatted says what appendRecords did.
type formatted struct {
	out      []byte
	consumed int
	records  int
}

// appendRecords formats the lines at the head of in as records of one stream
// and one timestamp, until out has grown past maxOut bytes. An unterminated rest
// of up to MaxLine bytes is left alone, or with flush becomes a partial record.
func appendRecords(out, in []byte, t time.Time, s Stream, maxOut int, flush bool) formatted {
	var fullHead, partHead [80]byte
	full := appendHead(fullHead[:0], t, s, 'F')
	part := appendHead(partHead[:0], t, s, 'P')
	f := formatted{out: out}
	for f.consumed < len(in) && len(f.out) < maxOut {
		rest := in[f.consumed:]
		end := bytes.IndexByte(rest[:min(len(rest), MaxLine+1)], '\n')
		skip := 1
		head := full
		if end < 0 {
			if len(rest) <= MaxLine && !flush {
				break
			}
			head, end, skip = part, min(len(rest), MaxLine), 0
		}
		f.out = append(f.out, head...)
		f.out = append(f.out, rest[:end]...)
		f.out = append(f.out, '\n')
		f.consumed += end + skip
		f.records++
	}
	return f
}
