package eviction

import (
	"os"
	"syscall"
)

// smallDisk makes a directory with a file system of its own.
func smallDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512m,mode=0700")
}
