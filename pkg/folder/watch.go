package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are what can make a folder say something else. A file that is written
// counts when it is closed. (The portable libraries do not tell of that.)
const changes = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
	unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watch tells of changes in directories. Its zero value is not usable.
type Watch struct {
	// Changed gets a value, if it has room for one, after each change.
	Changed chan struct{}

	f    *os.File
	fd   int // File.Fd would make reads block
	done chan struct{}

	mu    sync.Mutex
	paths map[int32]string
}

// NewWatch watches nothing yet. It ends with ctx; Wait returns then.
func NewWatch(ctx context.Context) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching a folder (see fs.inotify.max_user_instances): %w", err)
	}
	w := &Watch{
		Changed: make(chan struct{}, 1), f: os.NewFile(uintptr(fd), "inotify"), fd: fd, done: make(chan struct{}),
		paths: map[int32]string{},
	}
	stop := context.AfterFunc(ctx, func() { _ = w.f.Close() })
	go func() {
		defer close(w.done)
		defer stop()
		w.follow()
	}()
	return w, nil
}

// Wait waits for the end.
func (w *Watch) Wait() { <-w.done }

func (w *Watch) follow() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return // closed
		}
		told := false
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at])) //nolint:gosec // the kernel's own layout
			at += unix.SizeofInotifyEvent + int(e.Len)
			if e.Mask&unix.IN_IGNORED != 0 {
				w.forget(e.Wd) // what led to that was told before
				continue
			}
			told = true
		}
		if !told {
			continue
		}
		select {
		case w.Changed <- struct{}{}:
		default:
		}
	}
}

func (w *Watch) forget(wd int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.paths, wd)
}

// Set watches these directories and no others. added says that some are new:
// what changed in them before is not told. A directory that is not there is no
// failure: the one above it is watched as well.
func (w *Watch) Set(dirs []string) (added bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	want := map[int32]string{}
	for _, dir := range dirs {
		wd, err := unix.InotifyAddWatch(w.fd, dir, changes)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES):
			continue
		case err != nil:
			return added, fmt.Errorf("watching %s (see fs.inotify.max_user_watches): %w", dir, err)
		}
		if _, again := w.paths[int32(wd)]; !again {
			added = true
		}
		want[int32(wd)] = dir
	}
	for wd := range w.paths {
		if _, still := want[wd]; !still {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
		}
	}
	w.paths = want
	return added, nil
}
