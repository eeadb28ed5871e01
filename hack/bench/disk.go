package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is a file system of its own on a device of its own, so that the device
// tells what its users cause to be written, the file system's journal with it.
// What the kernel counts for a process is the size of the pages that it made
// dirty, and those are up to megabytes large.
type disk struct{ image, device, dir string }

const diskSize = 4 << 30

// newDisk makes an ext4 in a file and mounts it.
func newDisk(ctx context.Context, dir string) (*disk, error) {
	d := &disk{image: dir + ".img", dir: dir}
	err := d.make(ctx)
	if err != nil {
		return nil, errors.Join(err, d.destroy())
	}
	return d, nil
}

func (d *disk) make(ctx context.Context) error {
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return err
	}
	// Nothing is left to the kernel to be written later.
	if _, err := tool(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image); err != nil {
		return err
	}
	if d.device, err = tool(ctx, "losetup", "--find", "--show", d.image); err != nil {
		return err
	}
	if err := unix.Mount(d.device, d.dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", d.device, err)
	}
	if err := os.Mkdir(d.runDir(), 0o700); err != nil {
		return err
	}
	return unix.Mount("tmpfs", d.runDir(), "tmpfs", 0, "")
}

// runDir is where /run would be: in memory.
func (d *disk) runDir() string { return filepath.Join(d.dir, "run") }

func tool(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// written is what the device was given to write since it is there, in bytes,
// with all that waited to be written until now.
func (d *disk) written() (int64, error) {
	root, err := os.Open(d.dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return 0, err
	}
	data, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(d.device), "stat"))
	if err != nil {
		return 0, err
	}
	const sectors, size = 6, 512 // the kernel's Documentation/block/stat.rst
	fields := strings.Fields(string(data))
	if len(fields) <= sectors {
		return 0, fmt.Errorf("%s: unexpected counters %q", d.device, data)
	}
	n, err := strconv.ParseInt(fields[sectors], 10, 64)
	return n * size, err
}

// destroy undoes what was done of it.
func (d *disk) destroy() error {
	var errs []error
	if d.device != "" {
		for _, path := range []string{d.runDir(), d.dir} {
			if err := unix.Unmount(path, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", path, err))
			}
		}
		_, err := tool(context.Background(), "losetup", "--detach", d.device)
		errs = append(errs, err)
	}
	for _, path := range []string{d.image, d.dir} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
