package usage_test

import (
	"testing"
	"testing/quick"
	"time"

	"github.com/carob-project/carob/pkg/usage"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds int, cpu time.Duration) usage.Counters {
	return usage.Counters{At: start.Add(time.Duration(seconds) * time.Second), CPU: uint64(cpu), Memory: 7}
}

func TestBetween(t *testing.T) {
	use, ok := usage.Between(at(0, time.Second), at(10, 6*time.Second))
	if !ok || use.NanoCores != 500_000_000 || use.Window != 10*time.Second || use.Memory != 7 || !use.At.Equal(at(10, 0).At) {
		t.Fatalf("half a CPU for ten seconds is %+v, %v", use, ok)
	}
	for name, pair := range map[string][2]usage.Counters{
		"at the same time": {at(1, 0), at(1, 5)},
		"backwards":        {at(9, 0), at(1, 5)},
		"after a reset":    {at(0, 5), at(9, 4)},
	} {
		if use, ok := usage.Between(pair[0], pair[1]); ok {
			t.Errorf("%s: %+v", name, use)
		}
	}
}

func TestHistory(t *testing.T) {
	h := usage.NewHistory()
	if use, ok := h.Use("a", time.Time{}, at(1, time.Second)); ok {
		t.Errorf("without anything to compare with: %+v", use)
	}
	if use, ok := h.Use("a", start, at(4, time.Second)); !ok || use.NanoCores != 250_000_000 {
		t.Errorf("since its beginning: %+v, %v", use, ok)
	}
	h.Keep(map[string]usage.Counters{"a": at(10, time.Second), "b": at(10, 0)})
	h.Keep(map[string]usage.Counters{"a": at(20, 2*time.Second)})
	if use, ok := h.Use("a", start, at(30, 3*time.Second)); !ok || use.Window != 20*time.Second || use.NanoCores != 100_000_000 {
		t.Errorf("since the older of two readings: %+v, %v", use, ok)
	}
	if use, ok := h.Use("b", time.Time{}, at(30, 1)); ok {
		t.Errorf("a key that was left out is still known: %+v", use)
	}
	// A container that was restarted under the same key counts from nothing.
	if use, ok := h.Use("a", at(25, 0).At, at(30, time.Second/2)); !ok || use.NanoCores != 100_000_000 {
		t.Errorf("after a reset: %+v, %v", use, ok)
	}
}

// A rate lies between none and all that was counted, and grows with it.
func TestRateProperties(t *testing.T) {
	property := func(cpu uint32, more uint16, seconds uint8) bool {
		n := int(seconds) + 1
		a, ok1 := usage.Between(at(0, 0), at(n, time.Duration(cpu)))
		b, ok2 := usage.Between(at(0, 0), at(n, time.Duration(cpu)+time.Duration(more)))
		return ok1 && ok2 && a.NanoCores <= uint64(cpu) && a.NanoCores <= b.NanoCores
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}
