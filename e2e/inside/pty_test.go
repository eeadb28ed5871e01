package inside

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/e2e/harness"
)

// terminal is a command that runs on a terminal of its own, as under the hands
// of a user.
type terminal struct {
	t   *testing.T
	pty *os.File
	cmd *exec.Cmd

	mu   sync.Mutex
	out  bytes.Buffer
	done chan struct{}
}

func onTerminal(t *testing.T, rows, cols uint16, cmd *exec.Cmd) *terminal {
	t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(pty.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, pty: pty, cmd: cmd, done: make(chan struct{})}
	x.resize(rows, cols)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	go func() {
		// What was written last is read after the program's end.
		x.read()
		_ = cmd.Wait()
		close(x.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-x.done
		_ = pty.Close()
	})
	return x
}

func (x *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := x.pty.Read(buf)
		x.mu.Lock()
		x.out.Write(buf[:n])
		x.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (x *terminal) resize(rows, cols uint16) {
	if err := unix.IoctlSetWinsize(int(x.pty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.String()
}

// sees waits until the screen shows a text.
func (x *terminal) sees(want string) {
	x.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(x.text(), want) {
			return
		}
	}
	x.t.Fatalf("%v does not show %q:\n%s", x.cmd.Args, want, x.text())
}

// sized asks the shell for the size of its terminal until that is as wanted:
// kubectl tells an attached one two sizes in a row, to have it draw itself.
func (x *terminal) sized(rows, cols int) {
	x.t.Helper()
	want := fmt.Sprintf("%d %d", rows, cols)
	harness.Eventually(x.t, 10*time.Second, func() string {
		x.types("stty size")
		time.Sleep(100 * time.Millisecond)
		if text := x.text(); !strings.Contains(text, want) {
			return "no " + want + " in " + text
		}
		return ""
	})
}

func (x *terminal) types(line string) { x.sends(line + "\n") }

func (x *terminal) sends(keys string) {
	if _, err := x.pty.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// ends waits for the end of the command and returns its exit code.
func (x *terminal) ends() int {
	x.t.Helper()
	select {
	case <-x.done:
		return x.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		x.t.Fatalf("%v does not end:\n%s", x.cmd.Args, x.text())
		return -1
	}
}
