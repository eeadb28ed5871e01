package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"go.uber.org/zap"
)

// ReserveMemory says whether the memory protection of pods is to have effect:
// the kernel protects in a group no more than in the groups above it. Off, what
// the levels above pods had goes. It does nothing on v1, which protects nothing.
func (m *Manager) ReserveMemory(ctx context.Context, on bool) {
	if m.info.Version != V2 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reserve = on
	if m.exists(kubepods) {
		m.protect(ctx)
	}
}

// protection is what one level protects, in bytes: never to be reclaimed, and
// to be reclaimed last.
type protection struct{ least, low int64 }

// protections returns those of the levels, by their names, for what the pods of
// the classes have. A level above both covers what is below it in either way.
func protections(guaranteed, burstablePods int64) map[string]protection {
	all := protection{least: guaranteed + burstablePods, low: burstablePods}
	return map[string]protection{
		"": all, kubepods: all,
		path.Join(kubepods, burstable): {low: burstablePods},
	}
}

// protect gives the levels above pods what their pods have together. A failure
// is only logged: no pod needs it to run.
func (m *Manager) protect(ctx context.Context) {
	var guaranteed, low int64
	if m.reserve {
		guaranteed = m.sum(kubepods, "memory.min")
		low = m.sum(path.Join(kubepods, burstable), "memory.low")
	}
	for level, p := range protections(guaranteed, low) {
		dir := m.dir(m.info.Unified, level)
		err := errors.Join(
			write(dir, "memory.min", strconv.FormatInt(p.least, 10)),
			write(dir, "memory.low", strconv.FormatInt(p.low, 10)),
		)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			m.log.Warn("protect the memory of pods", zap.Error(err))
		}
	}
}

// sum adds up a file of the pods' groups at one level.
func (m *Manager) sum(level, file string) (total int64) {
	dir := m.dir(m.info.Unified, level)
	children, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, c := range children {
		if _, isPod := m.uidOf(level, c); !isPod {
			continue
		}
		// One that is being removed counts no more.
		if n, err := limit(filepath.Join(dir, c.Name()), file); err == nil {
			total += max(n, 0)
		}
	}
	return total
}
