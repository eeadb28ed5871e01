package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// noAccessTimes is FS_NOATIME_FL of the kernel's <linux/fs.h>: the time of the
// last access is not kept. What is made in such a directory has it too.
const noAccessTimes = 0x80

// omitAccessTimes has no reads noted in the member's directories. The member
// looks every 30 seconds for logs it can drop, and the first look after each
// change would be a write to the disk of a node that rests. Not every file
// system can do this.
func omitAccessTimes(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return omitAccessTime(path)
	})
	if err != nil {
		return fmt.Errorf("omit access times: %w", err)
	}
	return nil
}

func omitAccessTime(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil && flags&noAccessTimes == 0 {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|noAccessTimes))
	}
	if err != nil {
		return &os.PathError{Op: "set flags", Path: path, Err: err}
	}
	return nil
}

// keepsNoFlags says that a file system knows nothing of such flags.
func keepsNoFlags(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP)
}
