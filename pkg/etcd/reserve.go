package etcd

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// reserveAhead is how much the database may grow on a disk that is full.
const reserveAhead = 32 << 20

// reserve takes disk space for the database before it is needed. A member ends
// for good when it cannot write a page, and with it would end all that it takes
// to see and to cure a full disk. The write-ahead log reserves its own.
//
// The space lies behind the end of the file, where the database does not see
// it. Not every file system can do this; then nothing is reserved.
func reserve(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the database's own file
	if err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	// From the beginning: the file has holes where it was enlarged and not
	// yet written.
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, info.Size()+reserveAhead); err != nil {
		return fmt.Errorf("reserve space: %w", err)
	}
	return nil
}
