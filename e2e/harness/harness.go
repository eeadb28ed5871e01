// Package harness runs the built carob binary for the end-to-end tests, each
// instance in directories of its own, and drives it with kubectl. It must not
// import any part of carob: the tests see what a user sees.
package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/carob-project/carob/internal/testimage"
)

// Image is what the manifests and tests run.
const Image = "busybox:1.35"

// ReadyLine is how the last line of a successful start begins.
const ReadyLine = "carob is ready"

// startTimeout is generous: the tests measure nothing.
const startTimeout = 90 * time.Second

// Carob is one instance on this machine.
type Carob struct {
	Bin     string
	Dir     string
	DataDir string
	RunDir  string
	Listen  string
	// Args are added to the flags of `carob up`; CAROB_UP_ARGS gives the first
	// ones, such as --log-level=debug.
	Args []string
	// Env are added to the environment of `carob up`.
	Env []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

// Root returns the top of the source tree.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("not inside the source tree")
	return ""
}

// RequireMachine fails the test, with what to do, on a machine that cannot run
// it. It never skips.
func RequireMachine(t testing.TB) {
	t.Helper()
	out, err := exec.Command(filepath.Join(Root(t), "hack", "need.sh")).CombinedOutput()
	if err != nil {
		t.Fatalf("this machine cannot run the end-to-end tests:\n%s", out)
	}
}

// New makes the directories of an instance and removes it, with everything it
// left, when the test ends. The instance is not started.
func New(t testing.TB) *Carob {
	t.Helper()
	RequireMachine(t)
	bin := filepath.Join(Root(t), "bin", "carob")
	if b := os.Getenv("CAROB_BIN"); b != "" {
		bin = b
	}
	if _, err := os.Stat(bin); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	// Not t.TempDir: its long paths exceed what a unix socket may have.
	dir, err := os.MkdirTemp("", "carob-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	// The users of pods get through to their root file systems.
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302 -- a directory needs its x bits
		t.Fatal(err)
	}
	c := &Carob{
		Bin: bin, Dir: dir, DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"),
		Listen: "127.0.0.1:" + FreePort(t), Args: strings.Fields(os.Getenv("CAROB_UP_ARGS")),
	}
	t.Cleanup(func() { c.destroy(t) })
	return c
}

// Started makes an instance, starts it and imports the test image.
func Started(t testing.TB) *Carob {
	t.Helper()
	c := New(t)
	c.Up(t)
	c.Import(t)
	return c
}

// Runc is the runc of hack/tools, which can do more than that of old
// distributions.
func Runc(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Root(t), ".cache", "tools", "runc", "runc")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make .cache/tools/runc/runc` first", err)
	}
	return path
}

// WithRunc has the instance start a containerd of its own, whose runtime is the
// one at a path. It is for before the start.
func (c *Carob) WithRunc(t testing.TB, runc string) {
	t.Helper()
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(c.Dir, "bin")
	shim := "containerd-shim-runc-v2"
	// Where there is this directory the instance has had its own before.
	err = errors.Join(os.MkdirAll(filepath.Join(c.DataDir, "containerd"), 0o700), os.Mkdir(bin, 0o700),
		os.Symlink(containerd, filepath.Join(bin, "containerd")),
		os.Symlink(filepath.Join(filepath.Dir(containerd), shim), filepath.Join(bin, shim)),
		os.Symlink(runc, filepath.Join(bin, "runc")))
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "PATH="+bin+":"+os.Getenv("PATH"))
}

// given are the ports that FreePort has returned: nobody listens on a host port
// of a pod, so that the kernel takes it for free.
var given sync.Map

// FreePort returns a TCP port of 127.0.0.1 that was free an instant ago, and
// never the same one twice.
func FreePort(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		if _, again := given.LoadOrStore(port, true); !again {
			return port
		}
	}
}

func (c *Carob) instanceFlags() []string {
	return []string{"--data-dir", c.DataDir, "--run-dir", c.RunDir}
}

// Up starts `carob up` and returns when it says that it is ready.
func (c *Carob) Up(t testing.TB) {
	t.Helper()
	if err := c.TryUp(); err != nil {
		t.Fatalf("carob up: %v\n%s", err, c.Output())
	}
}

// TryUp is Up for a start that may fail.
func (c *Carob) TryUp() error {
	args := append([]string{"up", "--listen", c.Listen, "--cni-conf-dir", filepath.Join(c.Dir, "net.d")}, c.instanceFlags()...)
	if !slices.Contains(c.Args, "--eviction-hard") {
		// The tests are about their own pods, and the disk of a developer may
		// be nearly full.
		args = append(args, "--eviction-hard", "memory.available=50Mi,nodefs.available=1%,imagefs.available=1%",
			"--image-gc-high-threshold", "100")
	}
	cmd := exec.Command(c.Bin, append(args, c.Args...)...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&lockedWriter{c}, w), &lockedWriter{c}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	c.mu.Lock()
	c.cmd, c.done = cmd, done
	c.mu.Unlock()
	go func() {
		_ = cmd.Wait()
		_ = w.Close()
		close(done)
	}()
	ready := make(chan struct{})
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			if strings.HasPrefix(s.Text(), ReadyLine) {
				close(ready)
				break
			}
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	select {
	case <-ready:
		return nil
	case <-done:
		return fmt.Errorf("it ended: %v", cmd.ProcessState)
	case <-time.After(startTimeout):
		return errors.New("it was not ready in time")
	}
}

type lockedWriter struct{ c *Carob }

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.c.out.Write(p)
}

// Output returns what all starts of the instance have printed.
func (c *Carob) Output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// PID is the process ID of the running carob, 0 where none runs.
func (c *Carob) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// Signal sends a signal to carob alone and waits until it has ended.
func (c *Carob) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.cmd = nil
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
	case <-time.After(startTimeout):
		_ = cmd.Process.Kill()
		<-done
		t.Errorf("carob did not end after %v\n%s", sig, c.Output())
	}
}

// Kill ends carob with SIGKILL; its pods run on.
func (c *Carob) Kill(t testing.TB) { t.Helper(); c.Signal(t, syscall.SIGKILL) }

// Stop ends carob with SIGTERM; its pods run on.
func (c *Carob) Stop(t testing.TB) { t.Helper(); c.Signal(t, syscall.SIGTERM) }

// Run runs a carob command for this instance and returns its output.
func (c *Carob) Run(args ...string) (string, error) {
	return c.RunInput("", args...)
}

// RunInput is Run with a standard input.
func (c *Carob) RunInput(stdin string, args ...string) (string, error) {
	return run(stdin, c.Bin, append(args, c.instanceFlags()...)...)
}

// Must runs a carob command and fails the test where it fails.
func (c *Carob) Must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Run(args...)
	if err != nil {
		t.Fatalf("carob %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Kubectl runs the kubectl on PATH, or the one named by CAROB_KUBECTL, with
// the instance's admin kubeconfig.
func (c *Carob) Kubectl(args ...string) (string, error) {
	return c.KubectlInput("", args...)
}

// KubectlInput is Kubectl with a standard input.
func (c *Carob) KubectlInput(stdin string, args ...string) (string, error) {
	kubectl := os.Getenv("CAROB_KUBECTL")
	if kubectl == "" {
		kubectl = "kubectl"
	}
	return c.runKubectl(kubectl, stdin, args...)
}

// DebianKubectl is Kubectl with the one that Debian ships, an old one.
func (c *Carob) DebianKubectl(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return c.runKubectl(filepath.Join(Root(t), ".cache", "tools", "kubectl-debian", "usr", "bin", "kubectl"), "", args...)
}

func (c *Carob) runKubectl(kubectl, stdin string, args ...string) (string, error) {
	out, err := run(stdin, kubectl, append([]string{"--kubeconfig", filepath.Join(c.DataDir, "admin.kubeconfig")}, args...)...)
	return complaint.ReplaceAllString(out, ""), err
}

// complaint is what some kubectls say of the empty message with which a
// WebSocket begins, when it comes before they have made a stream for it.
var complaint = regexp.MustCompile(`(?m)^E.* websocket\.go:\d+\] Unknown stream id 1, discarding message\n`)

// K is Kubectl that fails the test where the command fails.
func (c *Carob) K(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Apply applies YAML.
func (c *Carob) Apply(t testing.TB, yaml string) {
	t.Helper()
	if out, err := c.KubectlInput(yaml, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s\n%s", err, out, yaml)
	}
}

// commandTimeout bounds every command that a test runs.
const commandTimeout = 3 * time.Minute

func run(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Import imports the test image.
func (c *Carob) Import(t testing.TB) {
	t.Helper()
	tar := filepath.Join(c.Dir, "image.tar")
	f, err := os.Create(tar) //nolint:gosec // a directory of the test
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(testimage.WriteTar(f, "docker.io/library/"+Image, testimage.Options{}), f.Close()); err != nil {
		t.Fatal(err)
	}
	c.Must(t, "image", "import", tar)
}

// Eventually waits until f returns an empty string, and fails with the last
// one where it does not in time.
func Eventually(t testing.TB, within time.Duration, f func() string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last string
	for end := time.Now().Add(within); time.Now().Before(end); <-tick.C {
		if last = f(); last == "" {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, last)
}

// WaitReady waits until the pod is Ready.
func (c *Carob) WaitReady(t testing.TB, pod string) {
	t.Helper()
	out, err := c.Kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/"+pod)
	if err != nil {
		desc, _ := c.Kubectl("describe", "pod", pod)
		t.Fatalf("pod %s is not ready: %v\n%s\n%s\n%s", pod, err, out, desc, c.Output())
	}
}

// Get returns one value of an object by a JSONPath such as {.status.phase}.
func (c *Carob) Get(t testing.TB, what, name, path string) string {
	t.Helper()
	return c.K(t, "get", what, name, "-o", "jsonpath="+path)
}

// destroy ends and removes everything of the instance, whatever its state.
func (c *Carob) destroy(t testing.TB) {
	if t.Failed() {
		t.Logf("carob's output:\n%s", c.Output())
	}
	c.Stop(t)
	if out, err := c.Run("reset", "--yes"); err != nil {
		t.Errorf("carob reset: %v\n%s", err, out)
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		t.Errorf("remove %s: %v", c.Dir, err)
	}
}
