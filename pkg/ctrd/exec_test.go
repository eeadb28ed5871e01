package ctrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/pkg/pod"
)

func TestExecWithStreams(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	req.Env = []pod.EnvVar{{Name: "WHO", Value: "me"}}
	id := run(t, r, req)
	sh := func(ctx context.Context, s pod.Streams, script string) (int, error) {
		return r.Exec(ctx, id, pod.ExecRequest{Command: []string{"sh", "-c", script}, Streams: s})
	}
	t.Run("output and code", func(t *testing.T) {
		var out, errs bytes.Buffer
		code, err := sh(t.Context(), pod.Streams{Stdout: &out, Stderr: &errs}, "echo out-$WHO; echo err >&2; exit 3")
		if code != 3 || err != nil || out.String() != "out-me\n" || errs.String() != "err\n" {
			t.Errorf("%d %v %q %q", code, err, out.String(), errs.String())
		}
	})
	t.Run("much of both", func(t *testing.T) {
		in := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		var out bytes.Buffer
		code, err := sh(t.Context(), pod.Streams{Stdin: bytes.NewReader(in), Stdout: &out}, "cat")
		if code != 0 || err != nil || !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%d %v, %d of %d bytes", code, err, out.Len(), len(in))
		}
	})
	t.Run("terminal", func(t *testing.T) {
		var out bytes.Buffer
		resize := make(chan pod.TerminalSize, 1)
		resize <- pod.TerminalSize{Width: 77, Height: 11}
		code, err := sh(t.Context(), pod.Streams{Stdout: &out, TTY: true, Resize: resize},
			`test -t 0 && test -t 1 && until [ "$(stty size)" = "11 77" ]; do sleep 0.05; done; echo $TERM`)
		if code != 0 || err != nil || !strings.Contains(out.String(), "xterm\r\n") {
			t.Errorf("%d %v %q", code, err, out.String())
		}
	})
	t.Run("not there", func(t *testing.T) {
		if _, err := r.Exec(t.Context(), id, pod.ExecRequest{Command: []string{"nosuch"}}); err == nil || !strings.Contains(err.Error(), "nosuch") {
			t.Errorf("a missing command: %v", err)
		}
		if _, err := r.Exec(t.Context(), "nobody", pod.ExecRequest{Command: []string{"true"}}); !errors.Is(err, pod.ErrNotFound) {
			t.Errorf("a missing attempt: %v", err)
		}
	})
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		from, to := io.Pipe()
		go func() {
			_, _ = io.ReadFull(from, make([]byte, 6))
			cancel()
			_, _ = io.Copy(io.Discard, from)
		}()
		_, err := sh(ctx, pod.Streams{Stdout: to}, "(sleep 6006 & sleep 6006) & (sleep 6006 &); sleep 6006 & echo begun; wait")
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		eventually(t, "the whole tree is killed", func() bool {
			return !slices.ContainsFunc(killtree.Processes(), func(p killtree.Process) bool {
				line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
				return string(line) == "sleep\x006006\x00"
			})
		})
	})
	t.Run("with its container", func(t *testing.T) {
		from, to := io.Pipe()
		done := make(chan error, 1)
		go func() {
			code, err := sh(t.Context(), pod.Streams{Stdout: to}, "echo begun; sleep 1000")
			if err == nil && code != codeKilled {
				err = fmt.Errorf("code %d", code)
			}
			done <- err
		}()
		if line, err := bufio.NewReader(from).ReadString('\n'); err != nil || line != "begun\n" {
			t.Fatalf("%q %v", line, err)
		}
		if err := r.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "no pipes are left", func() bool {
		left, err := os.ReadDir(r.opts.PipeDir)
		return err == nil && len(left) == 0
	})
}

func TestCommandProcess(t *testing.T) {
	own := &specs.Process{Args: []string{"httpd"}, Env: []string{"A=1"}, Cwd: "/srv", Terminal: true, NoNewPrivileges: true}
	req := pod.ExecRequest{Command: []string{"ls"}}
	if d := cmp.Diff(&specs.Process{Args: []string{"ls"}, Env: []string{"A=1"}, Cwd: "/srv", NoNewPrivileges: true}, commandProcess(own, req)); d != "" {
		t.Error(d)
	}
	req.TTY = true
	if p := commandProcess(own, req); !p.Terminal || !slices.Equal(p.Env, []string{"A=1", "TERM=xterm"}) || len(own.Env) != 1 {
		t.Errorf("%+v", p)
	}
	own.Env = []string{"TERM=vt100"}
	if p := commandProcess(own, req); !slices.Equal(p.Env, own.Env) {
		t.Errorf("%+v", p)
	}
}
