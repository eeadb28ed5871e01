// Package footprint keeps a long-running process small: when a burst of work
// is over, what only the burst needed goes back to the system. It must not
// know what the process does.
package footprint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// sampleEvery is how often the process looks at itself. It reads two small
// kernel files.
const sampleEvery = 2 * time.Second

// How far the heap may grow beyond what lives in it before it is collected, in
// percent: as Go has it in a burst, and less in a quiet process, which makes so
// little garbage that collecting it earlier costs next to nothing.
const (
	burstGrowth = 100
	quietGrowth = 25
)

// Keep gives memory back whenever the process has become quiet, and keeps its
// heap small until the next burst, until ctx ends. A growth that the environment
// sets stays. log may be nil.
func Keep(ctx context.Context, log *zap.Logger) {
	if log == nil {
		log = zap.NewNop()
	}
	grow := func(int) {}
	if os.Getenv("GOGC") == "" {
		grow = func(percent int) { debug.SetGCPercent(percent) }
		defer grow(burstGrowth)
	}
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	var d decider
	last, err := read()
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var now usage
		if now, err = read(); err != nil {
			break
		}
		due := d.due(last, now)
		if last = now; d.turned() {
			grow(d.growth())
		}
		if !due {
			continue
		}
		if err = GiveBack(); err != nil {
			break
		}
		if last, err = read(); err != nil {
			break
		}
		d.gaveBack(last)
		log.Debug("memory given back", zap.Int64("before", now.resident), zap.Int64("after", last.resident))
	}
	log.Warn("memory is not given back any more", zap.Error(err))
}

// GiveBack returns to the system what the heap does not need at present, and
// the pages of the program's own file, most of which only the start has
// needed. Those that are needed again are read back from the page cache.
func GiveBack() error {
	debug.FreeOSMemory()
	return dropProgram()
}

// usage is what the process has used of the machine.
type usage struct {
	at       time.Time
	cpu      time.Duration
	resident int64 // bytes
}

func read() (usage, error) {
	u := usage{at: time.Now()}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, fmt.Errorf("footprint: %w", err)
	}
	u.cpu = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return u, fmt.Errorf("footprint: %w", err)
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return u, fmt.Errorf("footprint: /proc/self/statm: %w", errForm)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return u, fmt.Errorf("footprint: /proc/self/statm: %w", err)
	}
	u.resident = pages * int64(os.Getpagesize())
	return u, nil
}

var errForm = errors.New("is not of the form expected")
