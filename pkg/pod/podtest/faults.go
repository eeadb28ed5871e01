package podtest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Faults scripts what goes wrong in the fakes. Operations are named as
// "Runtime.Create", "Sandboxes.Attach" and so on. The zero value lets
// everything succeed at once.
type Faults struct {
	mu     sync.Mutex
	before map[string][]error
	after  map[string][]error
	delay  map[string]time.Duration
	calls  []string
}

// Before makes the next calls of op fail without an effect, one for each
// error. A nil error lets a call pass.
func (f *Faults) Before(op string, errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before == nil {
		f.before = map[string][]error{}
	}
	f.before[op] = append(f.before[op], errs...)
}

// After makes the next calls of op take effect and fail all the same, as when
// an answer is lost.
func (f *Faults) After(op string, errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after == nil {
		f.after = map[string][]error{}
	}
	f.after[op] = append(f.after[op], errs...)
}

// Delay makes every call of op take this long before its effect. A context
// that ends meanwhile ends the call with its error and without effect.
func (f *Faults) Delay(op string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.delay == nil {
		f.delay = map[string]time.Duration{}
	}
	f.delay[op] = d
}

// Clear forgets all scripted faults and delays.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after, f.delay = nil, nil, nil
}

// Calls returns the operations so far, in order. Those of views are not
// counted.
func (f *Faults) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Count returns how often op was called.
func (f *Faults) Count(op string) int {
	n := 0
	for _, c := range f.Calls() {
		if c == op {
			n++
		}
	}
	return n
}

func take(m map[string][]error, op string) error {
	l := m[op]
	if len(l) == 0 {
		return nil
	}
	m[op] = l[1:]
	return l[0]
}

// run carries an operation out as scripted.
func (f *Faults) run(ctx context.Context, op string, effect func() error) error {
	f.mu.Lock()
	f.calls = append(f.calls, op)
	d := f.delay[op]
	err := take(f.before, op)
	f.mu.Unlock()
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := effect(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return take(f.after, op)
}
