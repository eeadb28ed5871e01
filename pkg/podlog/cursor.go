package podlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// openAll opens the files of a log, oldest first. That none exists is an error
// that wraps fs.ErrNotExist.
func openAll(path string) ([]*os.File, error) {
	for range 10 {
		names, err := rotated(path)
		if err != nil {
			return nil, err
		}
		files, err := openEach(append(slices.Clone(names), path))
		if err != nil {
			return nil, err
		}
		again, err := rotated(path)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		if slices.Equal(names, again) {
			if len(files) == 0 {
				return nil, fmt.Errorf("opening a log: %w", &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist})
			}
			return files, nil
		}
		closeAll(files) // rotated meanwhile: a file may be missing
	}
	return nil, fmt.Errorf("opening the log %s: it rotates too fast", path)
}

func openEach(paths []string) ([]*os.File, error) {
	var files []*os.File
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("opening a log: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // they were only read
	}
}

// cursor reads the lines of a log over all its files, those that come by later
// rotations too.
type cursor struct {
	path  string
	files []*os.File
	// at is the place of the first byte of buf, in files counted from the
	// first one given to newCursor.
	at  place
	buf []byte
	// store is the memory of buf.
	store []byte
	// left: the current file has been rotated away, so nothing is appended
	// to it any more.
	left bool
}

// maxRecord is longer than any record; longer lines are not records.
const maxRecord = 4 * MaxLine

func newCursor(path string, files []*os.File, at place) *cursor {
	c := &cursor{path: path, files: files, at: at}
	for range min(at.file, len(files)) {
		c.drop()
	}
	return c
}

func (c *cursor) drop() {
	_ = c.files[0].Close() // it was only read
	c.files = c.files[1:]
}

func (c *cursor) close() { closeAll(c.files) }

// next returns the next whole line, with its newline, and where it begins. The
// line is valid until the next call. It returns io.EOF where there is none yet;
// later there may be one.
func (c *cursor) next() ([]byte, place, error) {
	for {
		if i := bytes.IndexByte(c.buf, '\n') + 1; i > 0 {
			line, at := c.buf[:i], c.at
			c.buf = c.buf[i:]
			c.at.offset += int64(i)
			return line, at, nil
		}
		more, err := c.fill()
		if err != nil {
			return nil, place{}, err
		}
		if more {
			continue
		}
		// Not a whole line: it may be taken back, so read it again later.
		c.buf = nil
		ok, err := c.advance()
		if err != nil {
			return nil, place{}, err
		}
		if !ok {
			return nil, place{}, io.EOF
		}
	}
}

// fill reads more of the current file behind the rest of a line in buf.
func (c *cursor) fill() (bool, error) {
	if len(c.files) == 0 {
		return false, nil
	}
	if len(c.buf) > maxRecord {
		// No record is as long. Leave all but its end out.
		c.at.offset += int64(len(c.buf))
		c.buf = nil
	}
	if c.store == nil {
		c.store = make([]byte, 2*maxRecord)
	}
	have := copy(c.store, c.buf)
	n, err := c.files[0].ReadAt(c.store[have:], c.at.offset+int64(have))
	if err != nil && err != io.EOF {
		return false, err
	}
	c.buf = c.store[:have+n]
	return n > 0, nil
}

// advance goes to the next file after the end of the current one, and says
// whether there may be more to read.
func (c *cursor) advance() (bool, error) {
	switch {
	case len(c.files) > 1:
		c.drop()
		c.at, c.left = place{file: c.at.file + 1}, false
		return true, nil
	case len(c.files) == 0:
		files, err := openAll(c.path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		c.files = files
		return err == nil, err
	}
	current, err := os.Stat(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	mine, err2 := c.files[0].Stat()
	if err2 != nil {
		return false, err2
	}
	if err == nil && os.SameFile(current, mine) {
		return false, nil
	}
	if !c.left {
		// Rotated after the last read: once more, and then on.
		c.left = true
		return true, nil
	}
	return c.successors(mine)
}

// successors opens the files that are newer than the current one.
func (c *cursor) successors(mine os.FileInfo) (bool, error) {
	files, err := openAll(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// The oldest files are removed first: one that is not there any more was
	// older than all that are.
	for i, f := range files {
		st, err := f.Stat()
		if err != nil {
			closeAll(files)
			return false, err
		}
		if os.SameFile(st, mine) {
			closeAll(files[:i+1])
			files = files[i+1:]
			break
		}
	}
	if len(files) == 0 {
		return false, nil
	}
	c.drop()
	c.files = files
	c.at, c.left = place{file: c.at.file + 1}, false
	return true, nil
}
