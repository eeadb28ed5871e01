// Package usage turns counters that only grow, and were read from time to time,
// into what is used per second. It is pure: it must not know where counters
// come from, nor read a clock.
package usage

import (
	"sync"
	"time"
)

// Counters is one reading of a container or a machine.
type Counters struct {
	At time.Time
	// CPU is the time used so far, in nanoseconds.
	CPU uint64
	// Memory is the working set in bytes: what is in use without the file
	// cache that the kernel would give up first.
	Memory uint64
}

// Use is what was used over a window that ended with the last reading.
type Use struct {
	At     time.Time
	Window time.Duration
	// NanoCores is the CPU time used, in nanoseconds a second.
	NanoCores uint64
	Memory    uint64
}

// MinWindow is the shortest time that a rate is told for: over less, a short
// burst looks like a busy container.
const MinWindow = time.Second

// Between returns what was used between two readings; false where they are too
// near to each other or the counter was reset meanwhile.
func Between(from, to Counters) (Use, bool) {
	window := to.At.Sub(from.At)
	if window < MinWindow || to.CPU < from.CPU {
		return Use{}, false
	}
	rate := float64(to.CPU-from.CPU) / window.Seconds()
	return Use{At: to.At, Window: window, NanoCores: uint64(rate), Memory: to.Memory}, true
}

// History keeps the last two readings of every key, so that a new reading has
// one to be compared with that is neither too young nor too old. It is safe
// for concurrent use.
type History struct {
	mu   sync.Mutex
	kept map[string][2]Counters // the older one first
}

// NewHistory returns an empty history.
func NewHistory() *History { return &History{kept: map[string][2]Counters{}} }

// Keep replaces the readings by one round of new ones: those of keys that are
// not in it are forgotten.
func (h *History) Keep(round map[string]Counters) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := make(map[string][2]Counters, len(round))
	for key, c := range round {
		next[key] = [2]Counters{h.kept[key][1], c}
	}
	h.kept = next
}

// Use compares a new reading with the oldest that is kept of its key, or, while
// there is none, with began, when the counter stood at nothing; a zero began is
// unknown.
func (h *History) Use(key string, began time.Time, now Counters) (Use, bool) {
	h.mu.Lock()
	kept := h.kept[key]
	h.mu.Unlock()
	for _, from := range kept {
		if from.At.IsZero() {
			continue
		}
		if use, ok := Between(from, now); ok {
			return use, true
		}
	}
	if began.IsZero() {
		return Use{}, false
	}
	return Between(Counters{At: began}, now)
}
