package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Containerd is one that is not carob's child, as a distribution's is.
type Containerd struct {
	dir string
	cmd *exec.Cmd
}

// NewContainerd starts a containerd with directories and sockets of its own
// and removes it when the test ends. more is added to its configuration.
func NewContainerd(t testing.TB, more string) *Containerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "carob-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Containerd{dir: dir}
	t.Cleanup(func() {
		s.Stop(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.internal.v1.opt']\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n%s",
		dir+"/root", dir+"/state", s.Socket(), s.Socket()+".ttrpc", more)
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return s
}

// Socket is what carob's --containerd-address wants.
func (s *Containerd) Socket() string { return filepath.Join(s.dir, "c.sock") }

// Start starts it, again after Stop, and returns when it listens.
func (s *Containerd) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(s.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	s.cmd = exec.Command("containerd", "--config", s.dir+"/config.toml") //nolint:gosec // a file of the test
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 20*time.Second, func() string {
		conn, err := net.Dial("unix", s.Socket())
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
}

// Stop ends it; what it started runs on.
func (s *Containerd) Stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // it was told to end
	s.cmd = nil
}
