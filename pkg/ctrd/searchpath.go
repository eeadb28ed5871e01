package ctrd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// searchPath remembers where containerd looks for programs, which need not be
// where this process does.
type searchPath struct {
	mu   sync.Mutex
	dirs []string
	read time.Time
}

// pathTime is how long it is remembered: a containerd that was started anew may
// look elsewhere.
const pathTime = time.Minute

// find returns the program that containerd's shims would run.
func (s *searchPath) find(ctx context.Context, address, program string) (string, error) {
	if filepath.IsAbs(program) {
		return program, nil
	}
	for _, dir := range s.of(ctx, address) {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", program, exec.ErrNotFound)
}

// of asks the kernel who listens on the socket, and for that process'
// environment. Where it does not tell, this process' own has to do.
func (s *searchPath) of(ctx context.Context, address string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dirs != nil && time.Since(s.read) < pathTime {
		return s.dirs
	}
	path, err := listenersPath(ctx, address)
	if err != nil {
		return filepath.SplitList(os.Getenv("PATH"))
	}
	s.dirs, s.read = filepath.SplitList(path), time.Now()
	return s.dirs
}

func listenersPath(ctx context.Context, address string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return "", err
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return "", err
	}
	if failed != nil {
		return "", failed
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", peer.Pid))
	if err != nil {
		return "", err
	}
	for line := range bytes.SplitSeq(environ, []byte{0}) {
		if path, ok := strings.CutPrefix(string(line), "PATH="); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("containerd (process %d) has no PATH", peer.Pid)
}
