// Package inside checks the ways into running pods: exec, attach, port-forward
// and cp, over WebSocket and SPDY, with the kubectl on PATH and the one that is
// built in.
package inside

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/carob-project/carob/e2e/harness"
)

const pods = `
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: a, image: 'busybox:1.35', command: [sh, -c, 'echo hello > /index.html && exec httpd -f -p 8080 -h /'], env: [{name: WHO, value: me}]}
    - {name: ended, image: 'busybox:1.35', command: ['false']}
---
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: sh, image: 'busybox:1.35', command: [sh], stdin: true, tty: true}
---
apiVersion: v1
kind: Pod
metadata: {name: talk}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: c, image: 'busybox:1.35', command: [sh, -c, 'while true; do echo tick; echo tock >&2; sleep 0.1; done']}
`

// client is one kubectl with one protocol.
type client struct {
	name string
	c    *harness.Carob
	args []string
	env  []string
}

func clients(t *testing.T, c *harness.Carob) []client {
	config := []string{"--kubeconfig", filepath.Join(c.DataDir, "admin.kubeconfig")}
	spdy := []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false", "KUBECTL_PORT_FORWARD_WEBSOCKETS=false"}
	ws := []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true", "KUBECTL_PORT_FORWARD_WEBSOCKETS=true"}
	installed := append([]string{"kubectl"}, config...)
	if k := os.Getenv("CAROB_KUBECTL"); k != "" {
		installed[0] = k
	}
	debian := append([]string{filepath.Join(harness.Root(t), ".cache", "tools", "kubectl-debian", "usr", "bin", "kubectl")}, config...)
	builtin := []string{c.Bin, "--data-dir", c.DataDir}
	return []client{
		{"Debian's kubectl, SPDY", c, debian, nil},
		{"kubectl, its own choice", c, installed, nil},
		{"built in, WebSocket", c, builtin, ws},
		{"built in, SPDY", c, builtin, spdy},
	}
}

func (k client) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.args[0], append(k.args[1:len(k.args):len(k.args)], args...)...)
	cmd.Env = append(os.Environ(), k.env...)
	return cmd
}

// run runs a command to its end.
func (k client) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, args...)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v: %v %v", args, err, ctx.Err())
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

func TestInside(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, pods)
	c.WaitReady(t, "shell")
	c.WaitReady(t, "talk")
	awaitWeb(t, c)
	for _, k := range clients(t, c) {
		t.Run(k.name, func(t *testing.T) {
			t.Run("exec", k.execs)
			t.Run("errors", k.errors)
			t.Run("terminal", k.terminal)
			t.Run("copies", k.copies)
			t.Run("attach", k.attaches)
			t.Run("attach to a shell", k.attachesShell)
			t.Run("port-forward", k.forwards)
			t.Run("proxy", k.proxies)
			t.Run("run", k.runs)
			t.Run("run what ends fast", k.runsFast)
		})
	}
	t.Run("logs over WebSocket", func(t *testing.T) { logsOverWebSocket(t, c) })
	// Debian's kubectl is older than ephemeral containers.
	t.Run("debug", func(t *testing.T) { clients(t, c)[1].debugs(t, "1") })
	t.Run("debug, built in", func(t *testing.T) { clients(t, c)[2].debugs(t, "2") })
	t.Run("debug a copy", clients(t, c)[1].debugsCopy)
	t.Run("debug a copy, built in", clients(t, c)[2].debugsCopy)
	t.Run("shared processes", func(t *testing.T) { sharesProcesses(t, c) })
	t.Run("init", func(t *testing.T) { reaps(t, c, clients(t, c)[2]) })
	t.Run("debug a node", clients(t, c)[1].debugsNode)
	t.Run("a client that leaves", clients(t, c)[0].leaves)
	t.Run("a client that leaves, WebSocket", clients(t, c)[2].leaves)
}

// awaitWeb waits until the first container of the pod runs and the other one
// does not.
func awaitWeb(t *testing.T, c *harness.Carob) {
	t.Helper()
	const state = `{.status.containerStatuses[?(@.name=="%s")].state.running.startedAt}`
	harness.Eventually(t, 30*time.Second, func() string {
		a, ended := c.Get(t, "pod", "web", fmt.Sprintf(state, "a")), c.Get(t, "pod", "web", fmt.Sprintf(state, "ended"))
		if a != "" && ended == "" {
			return ""
		}
		return fmt.Sprintf("a runs since %q, ended since %q", a, ended)
	})
}

func (k client) execs(t *testing.T) {
	if out, _, code := k.run(t, "", "exec", "web", "-c", "a", "--", "sh", "-c", `echo "$WHO $PWD $(hostname)"`); out != "me / web\n" || code != 0 {
		t.Errorf("%q %d", out, code)
	}
	out, errs, code := k.run(t, "", "exec", "web", "-c", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
	if out != "out\n" || code != 3 || errs != "err\ncommand terminated with exit code 3\n" {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if out, _, code := k.run(t, "some words", "exec", "-i", "web", "-c", "a", "--", "wc", "-c"); strings.TrimSpace(out) != "10" || code != 0 {
		t.Errorf("stdin: %q %d", out, code)
	}
	// Without -i the command reads an end at once.
	if out, _, code := k.run(t, "some words", "exec", "web", "-c", "a", "--", "cat"); out != "" || code != 0 {
		t.Errorf("no stdin: %q %d", out, code)
	}
	// What a command leaves behind does not hold it up for ever.
	began := time.Now()
	if out, _, code := k.run(t, "", "exec", "web", "-c", "a", "--", "sh", "-c", "sleep 30 & echo gone"); out != "gone\n" || code != 0 || time.Since(began) > 10*time.Second {
		t.Errorf("left behind: %q %d after %v", out, code, time.Since(began))
	}
}

func (k client) errors(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"exec", "web", "-c", "ended", "--", "true"}, `unable to upgrade connection: container not found ("ended")`},
		{[]string{"exec", "web", "-c", "none", "--", "true"}, "container none is not valid for pod web"},
		{[]string{"exec", "nobody", "--", "true"}, `pods "nobody" not found`},
		{[]string{"exec", "web", "-c", "a", "--", "nosuch"}, `exec: "nosuch": executable file not found in $PATH`},
	} {
		if _, errs, code := k.run(t, "", c.args...); code == 0 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d %q, want %q", c.args, code, errs, c.want)
		}
	}
}

func (k client) terminal(t *testing.T) {
	x := onTerminal(t, 33, 101, k.command(context.Background(), "exec", "-it", "web", "-c", "a", "--", "sh"))
	x.sees("/ # ")
	x.types("stty size; tty; echo $TERM")
	x.sees("33 101")
	x.sees("/dev/pts/")
	x.sees("xterm")
	x.resize(40, 120)
	x.sized(40, 120)
	x.types("exit 7")
	if code := x.ends(); code != 7 {
		t.Errorf("exit code %d:\n%s", code, x.text())
	}
}

func (k client) copies(t *testing.T) {
	data := make([]byte, 20<<20)
	_, _ = rand.Read(data)
	dir := t.TempDir()
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	if err := os.WriteFile(there, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"cp", there, "web:/tmp/file", "-c", "a"}, {"cp", "web:/tmp/file", back, "-c", "a"}} {
		if _, errs, code := k.run(t, "", args...); code != 0 {
			t.Fatalf("%v: %d %s", args, code, errs)
		}
	}
	got, err := os.ReadFile(back)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
	}
}

func (k client) attaches(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := k.command(ctx, "attach", "talk")
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	_ = cmd.Run() // it is killed: the container goes on
	if !strings.Contains(o.String(), "tick\n") || strings.Contains(o.String(), "tock") || !strings.Contains(e.String(), "tock\n") {
		t.Errorf("stdout %q, stderr %q", o.String(), e.String())
	}
}

func (k client) attachesShell(t *testing.T) {
	x := onTerminal(t, 30, 90, k.command(context.Background(), "attach", "-it", "shell"))
	x.sees("/ # ")
	x.types("echo in-$((40+2))")
	x.sees("in-42")
	x.sized(30, 90)
	_ = x.cmd.Process.Kill()
	if out := k.c.K(t, "logs", "shell"); !strings.Contains(out, "in-42") {
		t.Errorf("the log lacks what was attached to:\n%s", out)
	}
	if n := k.c.Get(t, "pod", "shell", "{.status.containerStatuses[0].restartCount}"); n != "0" {
		t.Errorf("the shell was restarted %s times", n)
	}
}

// proxies asks a port of the pod through the API server.
func (k client) proxies(t *testing.T) {
	const at = "/api/v1/namespaces/default/pods/web:8080/proxy/"
	for path, want := range map[string]string{"": "hello\n", "index.html": "hello\n"} {
		if out, errs, code := k.run(t, "", "get", "--raw", at+path); code != 0 || out != want {
			t.Errorf("%q: %q %q, code %d, want %q", path, out, errs, code, want)
		}
	}
	if _, errs, code := k.run(t, "", "get", "--raw", at+"none"); code == 0 || !strings.Contains(errs, "the server could not find the requested resource") {
		t.Errorf("a page that is not there: %q, code %d", errs, code)
	}
}

func (k client) forwards(t *testing.T) {
	port := harness.FreePort(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := k.command(ctx, "port-forward", "pod/web", port+":8080", "--address", "127.0.0.1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer cancel()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	harness.Eventually(t, 20*time.Second, func() string {
		r, err := client.Get("http://127.0.0.1:" + port + "/")
		if err != nil {
			return err.Error() + errs.String()
		}
		defer func() { _ = r.Body.Close() }()
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "hello\n" {
			return fmt.Sprintf("%q %v", body, err)
		}
		return ""
	})
	// Several at once, over one connection.
	failed := make(chan error, 8)
	for range cap(failed) {
		go func() {
			r, err := client.Get("http://127.0.0.1:" + port + "/index.html")
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
				_ = r.Body.Close()
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

func (k client) runs(t *testing.T) {
	run := []string{"run", "tmp", "--rm", "--restart=Never", "--image=" + harness.Image, "--overrides", `{"spec":{"terminationGracePeriodSeconds":0}}`}
	x := onTerminal(t, 24, 80, k.command(context.Background(), append(run, "-it", "--", "sh")...))
	x.sees("/ # ")
	x.types("echo in-$((40+2))")
	x.sees("in-42")
	x.types("exit")
	if code := x.ends(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, x.text())
	}
	if out, errs, code := k.run(t, "some words", append(run, "-i", "--", "sh", "-c", "cat; echo and more")...); code != 0 || !strings.HasPrefix(out, "some wordsand more\n") {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if out, err := k.c.Kubectl("get", "pod", "tmp"); err == nil {
		t.Errorf("the pod is still there:\n%s", out)
	}
}

// leaves: what a client began ends with the client, to the last process.
func (k client) leaves(t *testing.T) {
	cmd := k.command(context.Background(), "exec", "-i", "web", "-c", "a", "--",
		"sh", "-c", "sleep 5004 & (sleep 5004 & sleep 5004) & echo begun; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 10*time.Second, func() string {
		if n := len(sleepers(t)); n != 3 {
			return fmt.Sprintf("%d processes run, want 3", n)
		}
		return ""
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	harness.Eventually(t, 10*time.Second, func() string {
		if left := sleepers(t); len(left) > 0 {
			return fmt.Sprintf("processes %v are left", left)
		}
		return ""
	})
	harness.Eventually(t, 10*time.Second, func() string {
		if left, err := os.ReadDir(filepath.Join(k.c.RunDir, "inside")); err != nil || len(left) > 0 {
			return fmt.Sprint("pipes are left: ", left, err)
		}
		return ""
	})
}

// sleepers finds the processes of leaves.
func sleepers(t *testing.T) []int {
	t.Helper()
	return harness.PIDs(t, func(cmdline string) bool { return cmdline == "sleep\x005004\x00" })
}

// TestInsideOutlivesCarob: a container with a terminal goes on when carob is
// killed, a command inside one does not stay behind.
func TestInsideOutlivesCarob(t *testing.T) {
	c := harness.Started(t)
	c.Apply(t, pods)
	c.WaitReady(t, "shell")
	awaitWeb(t, c)
	k := clients(t, c)[2]
	cmd := k.command(context.Background(), "exec", "web", "-c", "a", "--", "sh", "-c", "sleep 5004 & sleep 5004")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, 20*time.Second, func() string {
		if n := len(sleepers(t)); n != 2 {
			return fmt.Sprint(n, " processes run")
		}
		return ""
	})
	x := onTerminal(t, 30, 90, k.command(context.Background(), "attach", "-it", "shell"))
	x.sees("/ # ")
	x.types("kept=4$((1+1))")
	x.types("echo is-$kept")
	x.sees("is-42")
	c.Kill(t)
	_ = cmd.Wait()
	x.ends()
	c.Up(t)
	harness.Eventually(t, 20*time.Second, func() string {
		if left := sleepers(t); len(left) > 0 {
			return fmt.Sprintf("processes %v are left", left)
		}
		return ""
	})
	y := onTerminal(t, 30, 90, k.command(context.Background(), "attach", "-it", "shell"))
	y.sees("/ # ")
	y.types("echo again-$kept")
	y.sees("again-42")
	if n := c.Get(t, "pod", "shell", "{.status.containerStatuses[0].restartCount}"); n != "0" {
		t.Errorf("the shell was restarted %s times", n)
	}
	_ = unix.Kill(y.cmd.Process.Pid, unix.SIGKILL)
}
