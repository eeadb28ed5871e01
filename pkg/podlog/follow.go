package podlog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// watcher tells when the files of a log have changed.
type watcher struct {
	*fsnotify.Watcher
}

// newWatcher watches from now on. It watches the directory, because the file
// changes with each rotation.
func newWatcher(path string) (*watcher, error) {
	w, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		return nil, fmt.Errorf("too many logs are followed at once (see fs.inotify.max_user_instances): %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("following a log: %w", err)
	}
	if err := w.Add(filepath.Dir(path)); err != nil {
		_ = w.Close() // nothing is watched
		return nil, fmt.Errorf("following a log: %w", err)
	}
	return &watcher{w}, nil
}

// wait waits for a change or the end of the attempt.
func (w *watcher) wait(ctx context.Context, done <-chan struct{}) (ended bool, err error) {
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-done:
		return true, nil
	case <-w.Events:
		return false, nil
	case err := <-w.Errors:
		if err == nil || errors.Is(err, fsnotify.ErrEventOverflow) {
			return false, nil // something has changed
		}
		return false, fmt.Errorf("following a log: %w", err)
	}
}

func (w *watcher) close() { _ = w.Close() } // it holds nothing but a descriptor
