package cni

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NamespaceID returns what tells the namespace pinned at path from any other of
// this boot. ok is false where there is none: no file, or a plain one.
func NamespaceID(path string) (id string, ok bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return "", false
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", false
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino), true
}
