package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/sys"
	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// pinOwned makes the namespaces of a sandbox as a user namespace's of its own,
// which then has the say over them, and pins them all. It changes the
// namespaces of the calling thread.
//
// Only a process of its own can make a user namespace. It ends before this
// returns, and with this process in any case.
func pinOwned(dir string, r *record, sysctls []pod.Sysctl) error {
	ids := fmt.Sprintf("0:%d:%d", r.Users.First, r.Users.Size)
	err := sys.UnshareAfterEnterUserns(ids, ids, uintptr(r.cloneFlags()), func(pid int) error {
		return pin(dir, r, fmt.Sprintf("/proc/%d", pid))
	})
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w (every user must be allowed to execute the program carob)", err)
	}
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	for _, name := range r.namespaces() {
		if name == userFile {
			continue // a thread among others cannot enter it, and root need not
		}
		if err := enter(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return furnish(r, sysctls)
}

// enter moves the calling thread into a namespace.
func enter(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), 0); err != nil {
		return fmt.Errorf("enter namespace %s: %w", path, err)
	}
	return nil
}

// asOwner runs f as the user who is root in the pod's user namespace: to some
// settings of a namespace the kernel lets nobody else. The calling thread must
// be one to throw away.
func asOwner(users pod.IDRange, f func() error) error {
	if !users.Mapped() {
		return f()
	}
	if err := setEffectiveUser(users.First); err != nil {
		return err
	}
	err := f()
	if back := setEffectiveUser(0); err == nil {
		err = back
	}
	return err
}

// setEffectiveUser changes that of the calling thread alone.
func setEffectiveUser(id uint32) error {
	const same = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(id), same); errno != 0 {
		return fmt.Errorf("become user %d: %w", id, errno)
	}
	return nil
}
