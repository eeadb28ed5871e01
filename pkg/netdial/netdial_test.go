package netdial

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/internal/osthread"
)

// namespace pins a new network namespace and runs f in it.
func namespace(t *testing.T, f func() error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := osthread.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		self := "/proc/" + strconv.Itoa(os.Getpid()) + "/task/" + strconv.Itoa(unix.Gettid()) + "/ns/net"
		if err := unix.Mount(self, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Logf("%s", out)
			return err
		}
		return f()
	})
	if err != nil {
		t.Fatalf("a network namespace (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

func serve(t *testing.T, network, address string) (l net.Listener) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, network)
			_ = c.Close()
		}
	}()
	return l
}

func TestLocalhost(t *testing.T) {
	path := namespace(t, func() error {
		serve(t, "tcp4", "127.0.0.1:7001")
		serve(t, "tcp6", "[::1]:7002")
		return nil
	})
	for port, want := range map[uint16]string{7001: "tcp4", 7002: "tcp6"} {
		c, err := Localhost(t.Context(), path, port)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); string(got) != want || err != nil {
			t.Errorf("port %d: %q %v", port, got, err)
		}
		_ = c.Close()
	}
	if _, err := Localhost(t.Context(), path, 7003); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a closed port: %v", err)
	}
	if _, err := Localhost(t.Context(), path+"x", 7001); !os.IsNotExist(unwrap(err)) {
		t.Errorf("no namespace: %v", err)
	}
	// This one is not in the namespace.
	if c, err := Localhost(t.Context(), "", 7001); err == nil {
		_ = c.Close()
		t.Error("the port of a namespace is open outside")
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || os.IsNotExist(err) {
			return err
		}
		err = u.Unwrap()
	}
}
