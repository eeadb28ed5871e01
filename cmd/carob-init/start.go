package main

import (
	"os"
	"syscall"
	"unsafe"
)

// prSetChildSubreaper makes orphans below this process its children although it
// is not the first process of its namespace.
const prSetChildSubreaper = 36

func adopt() {
	if os.Getpid() != 1 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0)
	}
}

// start runs the command in a process group of its own, which on a terminal is
// the one in front, so that its keys reach the command as without this process.
// code is not zero where it cannot be run.
func start(args []string) (pid, code int) {
	path, code := find(args[0])
	if code != 0 {
		say(args[0] + ": " + reason(code))
		return 0, code
	}
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if terminal(0) {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		say(args[0] + ": " + err.Error())
		if err == syscall.ENOENT { //nolint:errorlint // ForkExec wraps nothing
			return 0, codeNotFound
		}
		return 0, codeNotRunnable
	}
	return pid, 0
}

func reason(code int) string {
	if code == codeNotFound {
		return "executable file not found in $PATH"
	}
	return "permission denied"
}

// find looks a command up as the runtime would have done.
func find(name string) (path string, code int) {
	for i := range len(name) {
		if name[i] == '/' {
			return name, 0
		}
	}
	code = codeNotFound
	dirs, begin := os.Getenv("PATH"), 0
	for i := 0; i <= len(dirs); i++ {
		if i < len(dirs) && dirs[i] != ':' {
			continue
		}
		dir := dirs[begin:i]
		begin = i + 1
		if dir == "" {
			dir = "."
		}
		path = dir + "/" + name
		var st syscall.Stat_t
		if syscall.Stat(path, &st) != nil || st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			continue
		}
		const execute = 1
		if syscall.Access(path, execute) == nil {
			return path, 0
		}
		code = codeNotRunnable
	}
	return "", code
}

func terminal(fd uintptr) bool {
	var t syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&t))) //nolint:gosec // the kernel fills it in
	return errno == 0
}
