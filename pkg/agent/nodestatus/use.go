package nodestatus

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tick is the unit of /proc/stat in nanoseconds. It is a hundredth of a second
// on every architecture that Go runs on.
const tick = 10_000_000

// Use returns what the machine has used: CPU time since it was started, in
// nanoseconds, and the bytes of memory in use but for the file cache that is
// given up first.
func (m Machine) Use() (cpu, memory uint64, err error) {
	stat, err := os.ReadFile(m.path("/proc/stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("reading CPU time: %w", err)
	}
	if cpu, err = parseStat(string(stat)); err != nil {
		return 0, 0, err
	}
	b, err := os.ReadFile(m.path("/proc/meminfo"))
	if err != nil {
		return 0, 0, fmt.Errorf("reading memory: %w", err)
	}
	var total, free, inactive int64
	if err := readMeminfo(string(b), map[string]*int64{
		"MemTotal": &total, "MemFree": &free, "Inactive(file)": &inactive,
	}); err != nil {
		return 0, 0, err
	}
	return cpu, uint64(max(total-free-inactive, 0)), nil
}

// parseStat returns the time that all CPUs were busy.
func parseStat(s string) (uint64, error) {
	line, _, _ := strings.Cut(s, "\n")
	fields := strings.Fields(line)
	// cpu user nice system idle iowait irq softirq steal guest guest_nice;
	// the guests are part of user and nice.
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("stat: %q is no line of CPU times: %w", line, strconv.ErrSyntax)
	}
	var busy uint64
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		if idle := i == 3 || i == 4; !idle {
			busy += n * tick
		}
	}
	return busy, nil
}
