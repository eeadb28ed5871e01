package etcd

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestReadsAreNotNoted(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "member", "snap")
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := omitAccessTimes(dir); keepsNoFlags(err) {
			t.Skipf("this file system keeps no flags: %v", err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{old, filepath.Join(dir, "member", "wal")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		// Older than the last change: otherwise the kernel notes the next read.
		long := time.Now().Add(-48 * time.Hour)
		if err := os.Chtimes(d, long, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadDir(d); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(d)
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Atim.Sec != long.Unix() {
			t.Errorf("the read of %s is noted: %+v", d, st)
		}
	}
}
