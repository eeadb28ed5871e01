package logstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// ioDir is below a pod's sandbox directory; the pipes of an attempt are in
// <container>/<number> of it.
const ioDir = "io"

// Recover begins to copy from every pipe that an earlier carob left behind. It
// is called before anything may clear up after a container that ended unseen:
// while nobody reads its pipes, its last words would be lost with them.
func (s *Store) Recover(ctx context.Context) error {
	dirs, err := filepath.Glob(filepath.Join(s.o.SandboxesDir, "*", ioDir, "*", "*"))
	if err != nil {
		return fmt.Errorf("listing log pipes: %w", err)
	}
	var errs []error
	for _, d := range dirs {
		if k, ok := parse(s.o.SandboxesDir, d); ok {
			_, _, err := s.begin(ctx, k)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// parse is the reverse of pipes.
func parse(root, dir string) (key, bool) {
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return key{}, false
	}
	parts := strings.Split(rel, string(filepath.Separator))
	if len(parts) != 4 || parts[1] != ioDir {
		return key{}, false
	}
	n, err := strconv.Atoi(parts[3])
	if err != nil || n < 0 || strconv.Itoa(n) != parts[3] {
		return key{}, false
	}
	return key{uid: types.UID(parts[0]), container: parts[2], number: n}, true
}

// Drop implements agent.Logs.
func (s *Store) Drop(ctx context.Context, uid types.UID) error {
	s.mu.Lock()
	var keys []key
	for k := range s.open {
		if k.uid == uid {
			keys = append(keys, k)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, k := range keys {
		errs = append(errs, s.finish(ctx, k))
	}
	return errors.Join(errs...)
}
