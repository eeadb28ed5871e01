package pipekeeper

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shrink gives back what the start of the process has touched: unused heap, and
// the pages of the binary, most of which a keeper never needs. They come back
// from the page cache where it does.
func shrink() {
	debug.FreeOSMemory()
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range cleanFiles(string(smaps)) {
		// A refusal costs memory and nothing else.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.length, unix.MADV_DONTNEED)
	}
}

type mapping struct{ start, length uintptr }

// cleanFiles returns the mappings of files, in the form of /proc/self/smaps,
// that are as the file has them. One that the loader has relocated, and then
// made read-only, is not.
func cleanFiles(smaps string) []mapping {
	var clean []mapping
	var current mapping
	candidate := false
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 5 && strings.Contains(fields[0], "-"):
			current, candidate = header(fields)
		case candidate && len(fields) == 3 && fields[0] == "Private_Dirty:" && fields[1] == "0":
			clean = append(clean, current)
		}
	}
	return clean
}

// header parses the first line of a mapping, and says whether it maps a file
// that cannot be written to through it.
func header(fields []string) (mapping, bool) {
	if len(fields) < 6 || !strings.HasPrefix(fields[5], "/") || strings.Contains(fields[1], "w") {
		return mapping{}, false
	}
	from, to, _ := strings.Cut(fields[0], "-")
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	if err1 != nil || err2 != nil || b <= a {
		return mapping{}, false
	}
	return mapping{uintptr(a), uintptr(b - a)}, true
}
