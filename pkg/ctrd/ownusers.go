package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/carob-project/carob/internal/osthread"
)

// These tell before anything runs whether pods can have users of their own.

var errNoMapping = errors.New("it does not map the IDs of mounts")

// KernelMapsIDs returns why the kernel cannot map the IDs of mounts to those of
// a user namespace, or nil.
func KernelMapsIDs() error { return osthread.Kept(mapMemory) }

// RuntimeMapsIDs returns why the OCI runtime of the containerd that listens at
// address, or would be started by this process, cannot, or nil.
func RuntimeMapsIDs(ctx context.Context, address string) error {
	var path searchPath
	binary, err := path.find(ctx, address, ociBinary(Handler{}))
	if err != nil {
		return err
	}
	var cache featureCache
	f, err := cache.ask(ctx, binary)
	if err != nil {
		return fmt.Errorf("%s does not tell its features: %w", binary, err)
	}
	if !mapsIDs(f) {
		return fmt.Errorf("%s: %w", binary, errNoMapping)
	}
	return nil
}

// DirMapsIDs returns why the file system of a directory, or of what is there
// above it, cannot, or nil. It is for a kernel that can.
func DirMapsIDs(dir string) error {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
		dir = filepath.Dir(dir)
	}
	return osthread.Kept(func() error {
		const ids = "0:65536:65536"
		users, err := mount.GetUsernsFD(ids, ids)
		if err != nil {
			return fmt.Errorf("user namespace: %w", err)
		}
		defer func() { _ = users.Close() }()
		if err := mappable(dir, users); err != nil {
			return fmt.Errorf("the file system of %s (%s): %w", dir, fileSystem(dir), errNoMapping)
		}
		return nil
	})
}
