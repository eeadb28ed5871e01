package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/pkg/pod"
)

// pinOwned makes the namespaces of a sandbox as a user namespace's of its own,
// which then has the say over them, and pins them all. It changes the calling
// thread, which must be one to throw away.
func pinOwned(dir string, r *record, sysctls []pod.Sysctl) error {
	child, err := startInside(r)
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w (every user must be allowed to execute the program carob)", err)
	}
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	err = pin(dir, r, fmt.Sprintf("/proc/%d", child.Pid))
	_ = child.Kill()
	_, _ = child.Wait()
	if err == nil {
		err = setEffectiveUser(0)
	}
	if err != nil {
		return err
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

// startInside starts a process that is in the namespaces of a sandbox, since
// only one of its own can make a user namespace. It never runs: it is held at
// the first instruction of its program. The kernel ends it with the calling
// thread, which stays the pod's user.
//
// What a user namespace may have of the kernel's limits counts for the user who
// made it. Were that root, all pods would share what root may have.
func startInside(r *record) (*os.Process, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	if err := setEffectiveUser(r.Users.First); err != nil {
		return nil, err
	}
	// Mapping the IDs takes what root can.
	if err := unix.Capset(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("capabilities: %w", err)
	}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(r.Users.First), Size: int(r.Users.Size)}}
	return os.StartProcess("/proc/self/exe", []string{"carob-namespaces"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, Unshareflags: uintptr(r.cloneFlags()),
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Ptrace: true, Pdeathsig: unix.SIGKILL,
	}})
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
