package ctrd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"go.uber.org/zap"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/pkg/pod"
)

const (
	// execEnd bounds the wait for a killed command.
	execEnd = 10 * time.Second
	// execQuiet is how long the output of a command that has ended may be
	// silent before it counts as complete: a process that the command left
	// behind may hold it open for ever.
	execQuiet = 2 * time.Second
	// execPrefix begins the names of all commands.
	execPrefix = "exec-"
	// pipeDirMark stands between the names of container and command; none of
	// them can contain it.
	pipeDirMark = "+"
)

// command is one process that is run inside an attempt.
type command struct {
	r         *Runtime
	container string
	id        string
	pid       int
	io        *execIO
	// exited gets the exit code once.
	exited chan execResult
}

type execResult struct {
	code int
	err  error
}

// Exec runs a command in a running attempt; see pod.Insider. Its pipes are in
// a directory of its own, which is there before the process and goes after it:
// by it CleanUp finds the commands of an earlier carob.
func (r *Runtime) Exec(ctx context.Context, id string, req pod.ExecRequest) (int, error) {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return 0, err
	}
	if e, ok := r.state.get(id); !ok || e.attempt.State != pod.AttemptRunning {
		return 0, fmt.Errorf("exec in %s: %w", id, pod.ErrNotFound)
	}
	spec, err := r.execSpec(ctx, id, req)
	if err != nil {
		return 0, err
	}
	c := &command{r: r, container: id, id: newCommandID(), exited: make(chan execResult, 1)}
	if c.io, err = openExecIO(filepath.Join(r.opts.PipeDir, id+pipeDirMark+c.id), req); err != nil {
		return 0, fmt.Errorf("exec pipes: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if err := c.start(life, spec, req.TTY); err != nil {
		return 0, err
	}
	stop := c.io.begin(req, func() { _ = c.closeStdin(life) }) // it fails only where the process has gone
	if req.TTY {
		go c.followSize(life, req.Resize)
	}
	defer c.release(ctx, stop)
	select {
	case x := <-c.exited:
		c.io.drain(ctx, execQuiet)
		return x.code, x.err
	case <-ctx.Done():
		c.kill(ctx)
		return 0, ctx.Err()
	}
}

func newCommandID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return execPrefix + hex.EncodeToString(b[:])
}

// execSpec is the attempt's own process with another command.
func (r *Runtime) execSpec(ctx context.Context, id string, req pod.ExecRequest) (*specs.Process, error) {
	c, err := r.containers().Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", native(err))
	}
	v, err := typeurl.UnmarshalAny(c.Spec)
	if err != nil {
		return nil, fmt.Errorf("exec: spec: %w", err)
	}
	s, ok := v.(*specs.Spec)
	if !ok || s.Process == nil {
		return nil, fmt.Errorf("exec: %w: %T has no process", pod.ErrConfig, v)
	}
	return commandProcess(s.Process, req), nil
}

// commandProcess makes the process of a command from that of its container.
func commandProcess(own *specs.Process, req pod.ExecRequest) *specs.Process {
	p := *own
	p.Args = req.Command
	p.Terminal = req.TTY
	p.ConsoleSize = nil
	hasTerm := slices.ContainsFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") })
	if req.TTY && !hasTerm {
		p.Env = append(slices.Clone(p.Env), termEnv)
	}
	return &p
}

// start makes the process and runs it. What it made is undone where it fails.
func (c *command) start(ctx context.Context, spec *specs.Process, tty bool) error {
	packed, err := typeurl.MarshalAnyToProto(spec)
	if err != nil {
		return errors.Join(fmt.Errorf("exec spec: %w", err), c.io.close())
	}
	service := c.r.client.TaskService()
	req := &tasks.ExecProcessRequest{ContainerID: c.container, ExecID: c.id, Spec: packed, Terminal: tty}
	req.Stdin, req.Stdout, req.Stderr = c.io.paths()
	if _, err := service.Exec(ctx, req); err != nil {
		return errors.Join(fmt.Errorf("failed to exec in container: %w", native(err)), c.io.close())
	}
	// The wait is registered before the start, so that no end is missed.
	go func() {
		resp, err := service.Wait(ctx, &tasks.WaitRequest{ContainerID: c.container, ExecID: c.id})
		c.exited <- c.result(int(resp.GetExitStatus()), native(err))
	}()
	resp, err := service.Start(ctx, &tasks.StartRequest{ContainerID: c.container, ExecID: c.id})
	if err != nil {
		c.release(ctx, nil)
		return fmt.Errorf("failed to exec in container: failed to start exec %q: %w", c.id, native(err))
	}
	c.pid = int(resp.Pid)
	c.io.started()
	return nil
}

// result reads the answer of a Wait. One that containerd cannot give because
// the container has gone says that the command was killed with it.
func (c *command) result(code int, err error) execResult {
	if err == nil {
		return execResult{code: code}
	}
	if e, ok := c.r.state.get(c.container); errors.Is(err, pod.ErrNotFound) || !ok || e.attempt.State == pod.AttemptExited {
		return execResult{code: codeKilled}
	}
	return execResult{err: fmt.Errorf("wait for exec: %w", err)}
}

func (c *command) closeStdin(ctx context.Context) error {
	_, err := c.r.client.TaskService().CloseIO(ctx, &tasks.CloseIORequest{ContainerID: c.container, ExecID: c.id, Stdin: true})
	return orGone(err)
}

// followSize passes the sizes of the client's terminal on.
func (c *command) followSize(ctx context.Context, sizes <-chan pod.TerminalSize) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if err := c.r.resize(ctx, c.container, c.id, s); err != nil {
				c.r.log.Debug("a terminal keeps its size", zap.String("id", c.container), zap.Error(err))
			}
		}
	}
}

// kill ends the command and everything that came from it.
func (c *command) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEnd)
	defer cancel()
	killtree.Kill(c.pid)
	_, err := c.r.client.TaskService().Kill(ctx, &tasks.KillRequest{
		ContainerID: c.container, ExecID: c.id, Signal: uint32(syscall.SIGKILL),
	})
	if err = orGone(err); err != nil {
		c.r.log.Debug("a command is gone already", zap.String("id", c.container), zap.Error(err))
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		c.r.log.Warn("a killed command does not end", zap.String("id", c.container), zap.Int("pid", c.pid))
	}
}

// release gives everything of the command back. containerd takes its time, for
// which nobody has to wait.
func (c *command) release(ctx context.Context, stop func()) {
	ctx = context.WithoutCancel(ctx)
	if stop != nil {
		stop()
	}
	c.r.workers.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, execEnd)
		defer cancel()
		_, err := c.r.client.TaskService().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: c.container, ExecID: c.id})
		if err = errors.Join(orGone(err), c.io.close()); err != nil {
			c.r.log.Debug("a command is not cleared away", zap.String("id", c.container), zap.Error(err))
		}
	})
}

// Resize sets the size of an attempt's terminal; see pod.Insider.
func (r *Runtime) Resize(ctx context.Context, id string, s pod.TerminalSize) error {
	return r.resize(r.scoped(ctx), id, "", s)
}

func (r *Runtime) resize(ctx context.Context, id, exec string, s pod.TerminalSize) error {
	_, err := r.client.TaskService().ResizePty(ctx, &tasks.ResizePtyRequest{
		ContainerID: id, ExecID: exec, Width: uint32(s.Width), Height: uint32(s.Height),
	})
	return native(err)
}

// CloseStdin ends an attempt's standard input; see pod.Insider.
func (r *Runtime) CloseStdin(ctx context.Context, id string) error {
	_, err := r.client.TaskService().CloseIO(r.scoped(ctx), &tasks.CloseIORequest{ContainerID: id, Stdin: true})
	return native(err)
}

// cleanCommands ends the commands that a killed carob left behind: their
// clients have gone with it.
func (r *Runtime) cleanCommands(ctx context.Context) error {
	left, err := filepath.Glob(filepath.Join(r.opts.PipeDir, "*"+pipeDirMark+execPrefix+"*"))
	if err != nil {
		return err
	}
	service := r.client.TaskService()
	for _, dir := range left {
		id, exec, _ := strings.Cut(filepath.Base(dir), pipeDirMark)
		if p, err := service.Get(ctx, &tasks.GetRequest{ContainerID: id, ExecID: exec}); err == nil {
			killtree.Kill(int(p.Process.Pid))
			// What has ended meanwhile is deleted below.
			_, _ = service.Kill(ctx, &tasks.KillRequest{ContainerID: id, ExecID: exec, Signal: uint32(syscall.SIGKILL)})
			_, _ = service.Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: exec})
			if _, err := service.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: exec}); orGone(err) != nil {
				r.log.Warn("a command of an earlier carob stays", zap.String("id", id), zap.Error(err))
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}
