package podlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// sink is the log file of an attempt with its rotation. Its user serializes.
type sink struct {
	path     string
	maxSize  int64
	maxFiles int
	file     *os.File
	size     int64
}

// open opens the file, or makes it. It does not make directories: those go with
// the pod, and a late writer must not bring them back.
func (s *sink) open() error {
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close() // nothing was written
		return err
	}
	s.file, s.size = f, st.Size()
	return nil
}

// write appends the batch as a whole or not at all, after a rotation if the file
// is large enough.
func (s *sink) write(batch []byte, now time.Time) error {
	if s.file != nil && s.size >= s.maxSize {
		if err := s.rotate(now); err != nil {
			return fmt.Errorf("rotating %s: %w", s.path, err)
		}
	}
	if s.file == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	n, err := s.file.Write(batch)
	if err == nil {
		s.size += int64(n)
		return nil
	}
	if n > 0 {
		if terr := s.file.Truncate(s.size); terr != nil {
			// Half a record stands at the end: begin another file.
			s.size = max(s.maxSize, s.size+int64(n))
			err = fmt.Errorf("%w (and taking back half a record: %w)", err, terr)
		}
	}
	return err
}

// rotate moves the file away and removes the oldest ones beyond the bound.
func (s *sink) rotate(now time.Time) error {
	if err := os.Rename(s.path, s.path+"."+now.UTC().Format(rotatedLayout)); err != nil {
		return err
	}
	_ = s.file.Close() // its content is with the kernel since each write
	s.file, s.size = nil, 0
	old, err := rotated(s.path)
	if err != nil {
		return err
	}
	for len(old) > max(s.maxFiles-1, 0) {
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	return nil
}

func (s *sink) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// repair cuts off the half record that a writer killed in its middle left at the
// end of the file: its bytes are still in the pipe. It returns the whole records
// at the end of the file, at least those of the last batch.
func (s *sink) repair() ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	const enough = 2 * (maxOut + MaxLine)
	from := max(0, s.size-enough)
	tail := make([]byte, s.size-from)
	r, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	n, err := r.ReadAt(tail, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	tail = tail[:n]
	end := lastLineEnd(tail)
	if end == len(tail) {
		return tail, nil
	}
	if end == 0 && from > 0 {
		// Not of our making. Keep it, on a line of its own.
		m, err := s.file.Write([]byte{'\n'})
		s.size += int64(m)
		return nil, err
	}
	s.size = from + int64(end)
	return tail[:end], s.file.Truncate(s.size)
}
