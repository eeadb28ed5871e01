package pipekeeper

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dir is short enough for a socket's path.
func dir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

func newClient(t *testing.T, d string) *Client {
	t.Helper()
	c := New(filepath.Join(d, "s"))
	t.Cleanup(func() {
		if err := New(filepath.Join(d, "s")).Quit(context.Background()); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	return c
}

func pipe(t *testing.T, d, name string) string {
	t.Helper()
	p := filepath.Join(d, name)
	if err := unix.Mkfifo(p, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
}

// left reads what is in a pipe now.
func left(t *testing.T, path string) string {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 100)
	n, err := unix.Read(fd, buf)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	return string(buf[:max(n, 0)])
}

func TestWhatIsInAKeptPipeStays(t *testing.T) {
	d := dir(t)
	kept, other := pipe(t, d, "kept"), pipe(t, d, "other")
	c := newClient(t, d)
	if err := c.Keep(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	c.Close() // as when carob is killed
	write(t, kept, "last words")
	write(t, other, "lost words")
	if got := left(t, kept); got != "last words" {
		t.Errorf("the kept pipe holds %q", got)
	}
	if got := left(t, other); got != "" {
		t.Errorf("the other pipe holds %q: the test proves nothing", got)
	}
	again := New(filepath.Join(d, "s"))
	defer again.Close()
	if err := again.Drop(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	write(t, kept, "more")
	if got := left(t, kept); got != "" {
		t.Errorf("a dropped pipe holds %q", got)
	}
}

func TestAKilledKeeperIsReplaced(t *testing.T) {
	d := dir(t)
	first, second := pipe(t, d, "first"), pipe(t, d, "second")
	c := newClient(t, d)
	if err := c.Keep(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	pid := peer(t, c.conn)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The end of the connection is the event that it has gone.
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.r.ReadByte()
	if err := c.Keep(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{first, second} {
		write(t, p, "words")
		if got := left(t, p); got != "words" {
			t.Errorf("%s holds %q", p, got)
		}
	}
}

// A process that is being killed may still take a connection and then reset it.
func TestADyingKeeperIsPassedOver(t *testing.T) {
	for name, ask := range map[string]func(*Client, string) error{
		"keep": func(c *Client, p string) error { return c.Keep(t.Context(), p) },
		"drop": func(c *Client, p string) error { return c.Drop(t.Context(), p) },
	} {
		t.Run(name, func(t *testing.T) {
			d := dir(t)
			l, err := net.Listen("unix", filepath.Join(d, "s"))
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				accepted <- errors.Join(err, l.Close(), conn.Close())
			}()
			if err := ask(newClient(t, d), pipe(t, d, "p")); err != nil {
				t.Error(err)
			}
			if err := <-accepted; err != nil {
				t.Error(err)
			}
		})
	}
}

func peer(t *testing.T, conn net.Conn) int {
	t.Helper()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	if err := errors.Join(raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }), err); err != nil {
		t.Fatal(err)
	}
	return int(cred.Pid)
}

func TestOnlyPipesAreKept(t *testing.T) {
	d := dir(t)
	c := newClient(t, d)
	file := filepath.Join(d, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, filepath.Join(d, "missing"), d} {
		if err := c.Keep(t.Context(), p); !errors.Is(err, ErrKeeper) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if err := c.ask(t.Context(), "nonsense"); !errors.Is(err, ErrKeeper) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestDropAndQuitWithoutAKeeper(t *testing.T) {
	c := New(filepath.Join(dir(t), "s"))
	if err := errors.Join(c.Drop(t.Context(), "/x"), c.Quit(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestOnlyCleanFilesAreGivenBack(t *testing.T) {
	const smaps = `00400000-00401000 r-xp 00000000 fe:00 1 /bin/x
Rss:                 4 kB
Private_Dirty:         0 kB
00401000-00402000 r--p 00000000 fe:00 1 /bin/x
Private_Dirty:         4 kB
00402000-00403000 rw-p 00000000 fe:00 1 /bin/x
Private_Dirty:         0 kB
00403000-00404000 r--p 00000000 00:00 0
Private_Dirty:         0 kB
`
	if got := cleanFiles(smaps); len(got) != 1 || got[0] != (mapping{0x400000, 0x1000}) {
		t.Errorf("%x", got)
	}
}

func FuzzCleanFiles(f *testing.F) {
	f.Add("00400000-00401000 r-xp 00000000 fe:00 1 /bin/x\nPrivate_Dirty: 0 kB\n")
	f.Fuzz(func(t *testing.T, smaps string) {
		for _, m := range cleanFiles(smaps) {
			if m.length == 0 || m.start+m.length < m.start {
				t.Errorf("%q: %x", smaps, m)
			}
		}
	})
}
