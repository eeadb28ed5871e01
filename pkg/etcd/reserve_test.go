package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReserveTakesSpaceAndLeavesTheFileAsItIs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "member", "snap", "db")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("data"), 0o600)); err != nil {
		t.Fatal(err)
	}
	switch err := reserve(dir); {
	case errors.Is(err, unix.EOPNOTSUPP):
		t.Log("this file system reserves nothing")
	case err != nil:
		t.Fatal(err)
	default:
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Blocks*512 < reserveAhead {
			t.Errorf("only %d bytes are taken", st.Blocks*512)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if err := reserve(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a database: %v", err)
	}
}
