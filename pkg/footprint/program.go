package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mapping is a piece of the address space.
type mapping struct {
	start, end uintptr
	perms      string
	path       string
	// own counts the bytes that are not the file's any more: written to, by
	// relocation or a debugger.
	own int64
}

// dropProgram takes the pages of the program's file out of the process. Only
// those that hold what the file holds: for others this would undo a write.
func dropProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("footprint: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("footprint: %w", err)
	}
	defer func() { _ = f.Close() }()
	all, err := readMappings(f)
	if err != nil {
		return fmt.Errorf("footprint: /proc/self/smaps: %w", err)
	}
	var errs []error
	for _, m := range all {
		if m.path != program || !m.clean() {
			continue
		}
		// DONTNEED reads nothing and cannot block; the next use of a page
		// maps it again.
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
		if errno != 0 {
			errs = append(errs, fmt.Errorf("footprint: madvise: %w", errno))
		}
	}
	return errors.Join(errs...)
}

// clean mappings can be read anew from their file at any time.
func (m mapping) clean() bool {
	return m.own == 0 && (m.perms == "r-xp" || m.perms == "r--p")
}

// ownFields are the lines of smaps that count pages which the file does not
// have. All of them have to be there.
var ownFields = []string{"Anonymous", "Swap"}

// readMappings reads the form of /proc/<pid>/smaps. A mapping of which not
// everything is told counts as written to.
func readMappings(r io.Reader) ([]mapping, error) {
	var all []mapping
	told := 0
	finish := func() {
		if len(all) > 0 && told < len(ownFields) {
			all[len(all)-1].own++
		}
	}
	s := bufio.NewScanner(r)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 {
			continue
		}
		name, isValue := strings.CutSuffix(fields[0], ":")
		if !isValue {
			finish()
			m, err := parseMapping(s.Text())
			if err != nil {
				return nil, err
			}
			all, told = append(all, m), 0
			continue
		}
		if len(all) == 0 || len(fields) < 2 || !slices.Contains(ownFields, name) {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[len(all)-1].own += n
		told++
	}
	finish()
	return all, s.Err()
}

// parseMapping parses a mapping's first line: range, permissions, offset,
// device, inode and path, which may have spaces.
func parseMapping(line string) (mapping, error) {
	var m mapping
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 {
		return m, errForm
	}
	from, to, ok := strings.Cut(fields[0], "-")
	if !ok {
		return m, errForm
	}
	start, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		return m, errForm
	}
	end, err := strconv.ParseUint(to, 16, 64)
	if err != nil || end < start {
		return m, errForm
	}
	m.start, m.end, m.perms = uintptr(start), uintptr(end), fields[1]
	if len(fields) == 6 {
		m.path = strings.TrimLeft(fields[5], " ")
	}
	return m, nil
}
