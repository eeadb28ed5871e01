package podlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize is what each pipe is asked to hold: the kernel's usual maximum for
// processes without special rights.
const pipeSize = 1 << 20

// MakeFIFOs makes the FIFOs of one attempt in dir, and dir itself, and returns
// their paths. Those that exist are kept with what is in them.
func MakeFIFOs(dir string) (stdout, stderr string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("making log pipes: %w", err)
	}
	stdout, stderr = filepath.Join(dir, "stdout"), filepath.Join(dir, "stderr")
	for _, p := range []string{stdout, stderr} {
		err := unix.Mkfifo(p, 0o600)
		if errors.Is(err, unix.EEXIST) {
			err = checkFIFO(p)
		}
		if err != nil {
			return "", "", fmt.Errorf("making log pipe %s: %w", p, err)
		}
	}
	return stdout, stderr, nil
}

// StdinName is the name of the FIFO that MakeStdin makes.
const StdinName = "stdin"

// MakeStdin makes the FIFO of an attempt's standard input in dir, beside those
// that MakeFIFOs makes, and returns its path. One that exists is kept.
func MakeStdin(dir string) (string, error) {
	path := filepath.Join(dir, StdinName)
	err := unix.Mkfifo(path, 0o600)
	if errors.Is(err, unix.EEXIST) {
		err = checkFIFO(path)
	}
	if err != nil {
		return "", fmt.Errorf("making the pipe of standard input %s: %w", path, err)
	}
	return path, nil
}

func checkFIFO(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st.Mode().Type() != os.ModeNamedPipe {
		return errors.New("exists and is not a FIFO")
	}
	return nil
}

// fifo is the reading side of one stream. It is opened for writing too, so that
// the kernel keeps the content even while no other process has it open.
type fifo struct {
	file *os.File
	fd   int
	// self is a path by which the times of the open FIFO can be set.
	self string
}

func openFIFO(path string) (*fifo, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		_ = unix.Close(fd) // nothing was written through it
		return nil, fmt.Errorf("%s: not a FIFO", path)
	}
	// A smaller pipe works too, only with more turns.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
	// os.NewFile keeps the descriptor non-blocking and on the poller.
	return &fifo{file: os.NewFile(uintptr(fd), path), fd: fd, self: "/proc/self/fd/" + strconv.Itoa(fd)}, nil
}

// waiting returns the number of bytes in the pipe.
func (p *fifo) waiting() (int, error) { return unix.IoctlGetInt(p.fd, unix.TIOCINQ) }

// full says whether a writer would block now.
func (p *fifo) full() bool {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// consume takes n bytes out of the pipe, which must be there, with one read
// where the kernel allows it: that read also moves the access time, which is
// how a later Copier knows about it. buf is scribbled over.
func (p *fifo) consume(buf []byte, n int) error {
	for n > 0 {
		m, err := unix.Read(p.fd, buf[:min(n, len(buf))])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("consuming from %s: %w", p.file.Name(), err)
		}
		n -= m
	}
	return nil
}

// markShift is how far in the past the access time of a marked FIFO lies. The
// kernel's relatime rule then always lets a read move it.
const markShift = 1 << 30 * time.Second

// mark notes that the batch with timestamp t is about to be written to the file
// and has not been consumed: the access time of the FIFO says so until the next
// read of it, in the same system call, makes it the present again.
func (p *fifo) mark(t time.Time) error {
	at, err := unix.TimeToTimespec(t.Add(-markShift))
	if err != nil {
		return err
	}
	ts := []unix.Timespec{at, {Nsec: unix.UTIME_OMIT}}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p.self, ts, 0)
}

// marked returns the timestamp of the batch the FIFO is marked with. One that
// is not marked gives a time that no batch has.
func (p *fifo) marked() (time.Time, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.fd, &st); err != nil {
		return time.Time{}, err
	}
	return time.Unix(st.Atim.Unix()).Add(markShift), nil
}

func (p *fifo) close() { _ = p.file.Close() } // nothing is buffered in it

// probeMarks tries in dir whether reads move access times there: not so on file
// systems mounted with noatime.
func probeMarks(dir string) (bool, error) {
	path := filepath.Join(dir, fmt.Sprintf(".probe-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return false, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	defer func() { _ = os.Remove(path) }() // goes with its directory otherwise
	p, err := openFIFO(path)
	if err != nil {
		return false, err
	}
	defer p.close()
	t := time.Now()
	if _, err := unix.Write(p.fd, []byte{1, 2}); err != nil {
		return false, err
	}
	if err := p.mark(t); err != nil {
		return false, nil // the file system has no such times
	}
	before, err := p.marked()
	if err != nil {
		return false, err
	}
	if err := p.consume(make([]byte, 1), 1); err != nil {
		return false, err
	}
	after, err := p.marked()
	if err != nil {
		return false, err
	}
	return before.Equal(t) && !after.Equal(before), nil
}
