package podlog

import (
	"bytes"
	"time"
)

// lastLineEnd returns the index behind the last newline, or 0.
func lastLineEnd(b []byte) int { return bytes.LastIndexByte(b, '\n') + 1 }

// lastLine returns the last line of whole lines, and what is before it.
func lastLine(b []byte) (line, before []byte) {
	if len(b) == 0 {
		return nil, nil
	}
	i := lastLineEnd(b[:len(b)-1])
	return b[i:], b[:i]
}

// lastTime returns the timestamp of the last record that can be read.
func lastTime(tail []byte) time.Time {
	for len(tail) > 0 {
		var line []byte
		line, tail = lastLine(tail)
		if r, err := ParseRecord(line); err == nil {
			return r.Time
		}
	}
	return time.Time{}
}

// lastBatch returns the bytes from which the records of stream s with the
// timestamp t at the very end of the file were made. All records of a batch, and
// no others, have its timestamp, and a batch is consumed before another one of
// the same attempt is written; so if t is the mark of the stream's FIFO, these
// bytes are in the file and still in the pipe.
func lastBatch(tail []byte, s Stream, t time.Time) []byte {
	begin := len(tail)
	for begin > 0 {
		line, before := lastLine(tail[:begin])
		r, err := ParseRecord(line)
		if err != nil || r.Stream != s || !r.Time.Equal(t) {
			break
		}
		begin = len(before)
	}
	var src []byte
	for rest := tail[begin:]; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n') + 1
		if r, err := ParseRecord(rest[:i]); err == nil {
			src = r.source(src)
		}
		rest = rest[i:]
	}
	return src
}
