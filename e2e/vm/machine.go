// Package vm runs carob in a virtual machine of its own, where the tests can
// do what they cannot do to the machine they run on: boot a kernel with cgroup
// v2 alone, reboot it, and cut its power. It must not import any part of
// carob. The tests have the build tag vm; hack/vm makes what the machine boots.
package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// An emulated processor is some twenty times slower than a real one, and other
// work shares it: the limits are there to end a test that hangs, no more.
const (
	bootTimeout    = 3 * time.Minute
	commandTimeout = 5 * time.Minute
)

// WebPort is a port of the machine's eth0 that can be reached from outside, at
// Machine.Web.
const WebPort = "8080"

// Machine is one virtual machine and its disk.
type Machine struct {
	// Web is the address, on the host's loopback, of port WebPort.
	Web string

	image string
	dir   string
	// kernel are arguments of the kernel beside the usual ones.
	kernel []string

	mu      sync.Mutex
	qemu    *exec.Cmd
	ended   chan struct{}
	control net.Conn
	boot    string
	booted  chan struct{}
	calls   map[int]chan reply
	last    int
}

// request and reply are one line of JSON each; hack/vm/guest is the other end.
type request struct {
	ID      int    `json:"id"`
	Script  string `json:"script"`
	Seconds int    `json:"seconds"`
}

type reply struct {
	ID   int    `json:"id"`
	Code int    `json:"code"`
	Out  string `json:"out"`
	Boot string `json:"boot"`
}

// New copies the disk that hack/vm/image.sh has made in image and boots a
// machine from it, whose kernel gets these arguments beside the usual ones. It
// is ended and removed when the test ends.
func New(t testing.TB, image string, kernel ...string) *Machine {
	t.Helper()
	// Not t.TempDir: its long paths exceed what a unix socket may have.
	dir, err := os.MkdirTemp("", "carob-vm-")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{image: image, dir: dir, kernel: kernel, calls: map[int]chan reply{}}
	t.Cleanup(func() {
		if t.Failed() {
			m.report(t)
		}
		m.Kill()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	})
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(image, "disk.img"), m.path("disk.img")).CombinedOutput(); err != nil {
		t.Fatalf("copy the disk: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.Web = l.Addr().String()
	_ = l.Close()
	m.Boot(t)
	return m
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

// report shows what helps to understand a failure.
func (m *Machine) report(t testing.TB) {
	if out, _, err := m.run("tail -c 20000 /var/log/carob.log; ps -eo pid,ppid,stat,args | grep -v ' \\[.*\\]$'", time.Minute); err == nil {
		t.Logf("carob's log and the processes in the machine:\n%s", out)
	}
	serial, _ := os.ReadFile(m.path("serial.log"))
	t.Logf("the machine's console:\n%s", serial[max(0, len(serial)-8000):])
}

func (m *Machine) arguments() []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		// No hardware virtualisation is asked for: there may be none.
		// Without cx16: emulated by qemu 7.2 it spoils the flags, and Linux 6.12
		// does not survive that.
		// Not microvm: it has no clock that a busy host cannot make the kernel
		// misread, and then does not boot.
		"-machine", "q35,vmport=off,i8042=off", "-accel", "tcg,thread=multi", "-cpu", "max,cx16=off", "-smp", "2", "-m", "1280",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd"),
		// The time stamp counter is the host's, the same for all processors.
		"-append", strings.Join(append([]string{"console=ttyS0 loglevel=4 reboot=t tsc=reliable no_timer_check"}, m.kernel...), " "),
		"-serial", "file:" + m.path("serial.log"), "-qmp", "unix:" + m.path("qmp") + ",server=on,wait=off",
		"-drive", "id=root,if=none,format=raw,file=" + m.path("disk.img"), "-device", "virtio-blk-pci,drive=root",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=control,server=on,wait=off,path=" + m.path("control"),
		"-device", "virtserialport,chardev=control,name=control",
		// restrict: the machine reaches nobody, and is reached at one port.
		"-netdev", "user,id=net,restrict=on,hostfwd=tcp:" + m.Web + "-:" + WebPort, "-device", "virtio-net-pci,netdev=net,romfile=",
	}
}

// Boot starts the machine, which must be off, and returns when it takes
// commands.
func (m *Machine) Boot(t testing.TB) {
	t.Helper()
	for _, socket := range []string{"qmp", "control"} {
		_ = os.Remove(m.path(socket))
	}
	var stderr bytes.Buffer
	cmd := exec.Command("qemu-system-x86_64", m.arguments()...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("qemu: %v: see docs/testing.md", err)
	}
	ended, booted := make(chan struct{}), make(chan struct{})
	m.mu.Lock()
	m.qemu, m.ended, m.booted = cmd, ended, booted
	m.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	conn, err := dial(m.path("control"), ended)
	if err != nil {
		t.Fatalf("qemu: %v\n%s", err, &stderr)
	}
	m.mu.Lock()
	m.control = conn
	m.mu.Unlock()
	go m.receive(conn)
	m.awaitBoot(t, booted)
}

func (m *Machine) awaitBoot(t testing.TB, booted chan struct{}) {
	t.Helper()
	select {
	case <-booted:
	case <-m.ended:
		t.Fatal("the machine ended while it booted")
	case <-time.After(bootTimeout):
		t.Fatal("the machine did not boot in time")
	}
}

// dial connects to a socket that qemu is about to make.
func dial(socket string, ended <-chan struct{}) (net.Conn, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ended:
			return nil, errors.New("it ended at once")
		case <-tick.C:
		}
	}
}

// receive hands out replies until the connection ends with the machine. The
// first line of a boot fails what the boot before has left unanswered.
func (m *Machine) receive(conn net.Conn) {
	s := bufio.NewScanner(conn)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var r reply
		if json.Unmarshal(s.Bytes(), &r) != nil {
			continue // half a line: the power was cut within
		}
		m.mu.Lock()
		if r.Boot != "" {
			m.failCalls()
			m.boot = r.Boot
			select {
			case <-m.booted: // the program was started again, not the machine
			default:
				close(m.booted)
			}
		} else if c := m.calls[r.ID]; c != nil {
			delete(m.calls, r.ID)
			c <- r
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	m.failCalls()
	m.mu.Unlock()
}

func (m *Machine) failCalls() {
	for id, c := range m.calls {
		close(c)
		delete(m.calls, id)
	}
}

var errMachineEnded = errors.New("the machine ended before the command")

// run runs a shell script in the machine and returns its output and exit code.
func (m *Machine) run(script string, limit time.Duration) (string, int, error) {
	c := make(chan reply, 1)
	m.mu.Lock()
	m.last++
	id, conn := m.last, m.control
	m.calls[id] = c
	m.mu.Unlock()
	line, err := json.Marshal(request{ID: id, Script: script, Seconds: int(limit.Seconds())})
	if err != nil {
		return "", -1, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return "", -1, err
	}
	select {
	case r, ok := <-c:
		if !ok {
			return "", -1, errMachineEnded
		}
		return r.Out, r.Code, nil
	case <-time.After(limit + 30*time.Second):
		return "", -1, errors.New("the machine does not answer")
	}
}

// Sh runs a shell script in the machine and fails the test where it fails.
func (m *Machine) Sh(t testing.TB, script string) string {
	t.Helper()
	out, code, err := m.run(script, commandTimeout)
	if err != nil || code != 0 {
		t.Fatalf("in the machine: exit code %d, error %v\n%s\n---\n%s", code, err, script, out)
	}
	return out
}

// Try is Sh for a script that may fail.
func (m *Machine) Try(script string) (string, bool) {
	out, code, err := m.run(script, commandTimeout)
	return out, err == nil && code == 0
}

// Begin starts a script whose end nobody awaits: the power may be cut within.
func (m *Machine) Begin(script string) {
	go func() { _, _, _ = m.run(script, commandTimeout) }()
}

// Write makes a file in the machine.
func (m *Machine) Write(t testing.TB, path, content string) {
	t.Helper()
	m.Sh(t, "cat > "+path+" <<'END-OF-FILE'\n"+strings.TrimSuffix(content, "\n")+"\nEND-OF-FILE\n")
}

// BootID is the ID of the present boot.
func (m *Machine) BootID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// Reboot shuts the machine down in good order and boots it again.
func (m *Machine) Reboot(t testing.TB) {
	t.Helper()
	booted := m.nextBoot()
	m.Begin("reboot")
	m.awaitBoot(t, booted)
}

// Reset is the reset button: the machine boots at once, and what its memory
// held is lost.
func (m *Machine) Reset(t testing.TB) {
	t.Helper()
	booted := m.nextBoot()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := command(ctx, m.path("qmp"), "system_reset"); err != nil {
		t.Fatal(err)
	}
	m.awaitBoot(t, booted)
}

// nextBoot returns what is closed when the machine has booted once more.
func (m *Machine) nextBoot() chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.booted = make(chan struct{})
	return m.booted
}

// Kill cuts the power: what was not written to the disk is lost. It may be
// called for a machine that is off.
func (m *Machine) Kill() {
	m.mu.Lock()
	cmd, ended, conn := m.qemu, m.ended, m.control
	m.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-ended
	if conn != nil {
		_ = conn.Close()
	}
}

// command gives one command to qemu's monitor.
func command(ctx context.Context, socket, name string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	lines := json.NewDecoder(conn)
	var greeting map[string]any
	if err := lines.Decode(&greeting); err != nil {
		return fmt.Errorf("greeting of qemu's monitor: %w", err)
	}
	for _, c := range []string{"qmp_capabilities", name} {
		if _, err := fmt.Fprintf(conn, `{"execute":%q}`+"\n", c); err != nil {
			return err
		}
		if err := awaitReturn(lines, c); err != nil {
			return err
		}
	}
	return nil
}

// awaitReturn reads past events to the answer of a command.
func awaitReturn(lines *json.Decoder, name string) error {
	for {
		var r struct {
			Return any             `json:"return"`
			Error  json.RawMessage `json:"error"`
			Event  string          `json:"event"`
		}
		if err := lines.Decode(&r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if r.Error != nil {
			return fmt.Errorf("%s: %s", name, r.Error)
		}
		if r.Event == "" {
			return nil
		}
	}
}
