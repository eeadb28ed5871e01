package input

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/e2e/harness"
)

// system is a containerd that is not carob's child, as a distribution's is.
type system struct {
	dir string
	cmd *exec.Cmd
}

func (s *system) socket() string { return filepath.Join(s.dir, "c.sock") }

func newSystem(t *testing.T) *system {
	t.Helper()
	dir, err := os.MkdirTemp("", "carob-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	s := &system{dir: dir}
	t.Cleanup(func() {
		s.stop(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.internal.v1.opt']\n[grpc]\n  address = %q\n[ttrpc]\n  address = %q\n",
		dir+"/root", dir+"/state", s.socket(), s.socket()+".ttrpc")
	if err := os.WriteFile(dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	return s
}

func (s *system) start(t *testing.T) {
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
	harness.Eventually(t, 20*time.Second, func() string {
		conn, err := net.Dial("unix", s.socket())
		if err != nil {
			return err.Error()
		}
		_ = conn.Close()
		return ""
	})
}

func (s *system) stop(t *testing.T) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait() // it was told to end
	s.cmd = nil
}

func nodeReady(t *testing.T, c *harness.Carob, status, text string) {
	t.Helper()
	harness.Eventually(t, 40*time.Second, func() string {
		got := c.K(t, "get", "nodes", "-o", `jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status} {.items[0].status.conditions[?(@.type=="Ready")].message}`)
		if !strings.HasPrefix(got, status+" ") || !strings.Contains(got, text) {
			return got
		}
		return ""
	})
}

func TestContainerdGoesAwayForAWhile(t *testing.T) {
	s := newSystem(t)
	c := harness.New(t)
	c.Args = append(c.Args, "--containerd-address", s.socket())
	c.Up(t)
	c.Import(t)
	c.Apply(t, onePod("before", harness.Image, ""))
	c.WaitReady(t, "before")
	nodeReady(t, c, "True", "")
	id := c.Get(t, "pod", "before", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}")

	s.stop(t)
	nodeReady(t, c, "False", "containerd")
	c.Apply(t, onePod("during", harness.Image, ""))
	if got := c.Get(t, "pod", "before", "{.status.phase}"); got != "Running" {
		t.Errorf("phase %s", got)
	}
	// grep fails as well when some other process ends while it looks.
	if out, err := exec.Command("sh", "-c", "grep -l pod"+c.Get(t, "pod", "before", "{.metadata.uid}")+" /proc/[0-9]*/cgroup").Output(); len(out) == 0 {
		t.Errorf("the container does not run any more: %v", err)
	}
	if out, err := c.Run("image", "list"); err == nil || !strings.Contains(out, s.socket()) {
		t.Errorf("image list: %v\n%s", err, out)
	}

	s.start(t)
	nodeReady(t, c, "True", "")
	c.WaitReady(t, "during")
	if now := c.Get(t, "pod", "before", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}"); now != id {
		t.Errorf("%s became %s", id, now)
	}
}
