package podlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rotatedLayout is the suffix of a rotated file. Such names sort by time.
const rotatedLayout = "20060102-150405.000000000"

// Path returns where the log of an attempt is, below the directory of its pod.
func Path(podDir, container string, attempt int) string {
	return filepath.Join(podDir, "logs", container, strconv.Itoa(attempt)+".log")
}

// Remove removes the log of an attempt with its rotated files. One that is not
// there is no error.
func Remove(path string) error {
	names, err := rotated(path)
	if err != nil {
		return err
	}
	for _, p := range append(names, path) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a log: %w", err)
		}
	}
	return nil
}

// rotated returns the paths of the rotated files of a log, oldest first.
func rotated(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing log files: %w", err)
	}
	var paths []string
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), base+".")
		if !ok || !e.Type().IsRegular() {
			continue
		}
		if _, err := time.Parse(rotatedLayout, suffix); err != nil {
			continue
		}
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	slices.Sort(paths)
	return paths, nil
}
