package ctrd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/pkg/pod"
)

const (
	// execOutput is how much of a command's output is kept.
	execOutput = 64 << 10
	// execDrain is how long the output of a command that has ended is waited
	// for: what it left running may hold it open.
	execDrain = time.Second
)

// Commands executes commands in running attempts and waits for their ends.
type Commands struct {
	*Runtime
	dir string
}

// NewCommands returns Commands that make their pipes in dir, which is theirs
// alone: what callers that were killed have left there is removed.
func NewCommands(r *Runtime, dir string) *Commands {
	_ = os.RemoveAll(dir) // what stays is two FIFOs
	return &Commands{Runtime: r, dir: dir}
}

// Exec runs cmd in a running attempt, as its user and in its environment, and
// returns what it wrote to both outputs and its exit code. With the end of the
// timeout (zero: there is none) or of ctx the command is killed with all that
// it started, and the error wraps context.DeadlineExceeded or ctx's error. An
// attempt that does not run gives pod.ErrNotFound.
func (r *Commands) Exec(ctx context.Context, id string, cmd []string, timeout time.Duration) ([]byte, int, error) {
	ctx = r.scoped(ctx)
	if err := r.usable(ctx); err != nil {
		return nil, 0, err
	}
	if e, ok := r.state.get(id); !ok || e.attempt.State != pod.AttemptRunning {
		return nil, 0, fmt.Errorf("exec in %s: no process runs: %w", id, pod.ErrNotFound)
	}
	spec, err := r.execSpec(ctx, id, cmd)
	if err != nil {
		return nil, 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	pipes, err := newExecPipes(r.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("exec in %s: %w", id, err)
	}
	defer pipes.close()
	out, code, err := r.execSync(ctx, id, spec, pipes, timeout)
	if err != nil {
		return out, code, fmt.Errorf("exec in %s: %w", id, err)
	}
	return out, code, nil
}

// execSpec is the process of the attempt with another command.
func (r *Commands) execSpec(ctx context.Context, id string, cmd []string) (*anypb.Any, error) {
	c, err := r.containers().Get(ctx, id)
	if err != nil {
		return nil, native(err)
	}
	var s specs.Spec
	if err := typeurl.UnmarshalTo(c.Spec, &s); err != nil {
		return nil, fmt.Errorf("spec: %w", err)
	}
	if s.Process == nil {
		return nil, fmt.Errorf("the spec has no process: %w", pod.ErrConfig)
	}
	s.Process.Args, s.Process.Terminal, s.Process.ConsoleSize = cmd, false, nil
	packed, err := typeurl.MarshalAnyToProto(s.Process)
	if err != nil {
		return nil, fmt.Errorf("process: %w", err)
	}
	return packed, nil
}

// execSync makes the process, waits for its end and removes it again, whatever
// becomes of ctx.
func (r *Commands) execSync(ctx context.Context, id string, spec *anypb.Any, pipes *execPipes, timeout time.Duration) ([]byte, int, error) {
	execID, err := newExecID()
	if err != nil {
		return nil, 0, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	svc := r.client.TaskService()
	_, err = svc.Exec(ctx, &tasks.ExecProcessRequest{
		ContainerID: id, ExecID: execID, Spec: spec, Stdout: pipes.path(0), Stderr: pipes.path(1),
	})
	if err != nil {
		return nil, 0, native(err)
	}
	remove := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, effectTimeout)
		defer cancel()
		_, _ = svc.DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: execID}) // gone with its task at the latest
	}
	defer func() {
		if !pipes.held {
			remove(context.WithoutCancel(ctx))
			return
		}
		// The shim waits for the output to end, for some seconds.
		r.workers.Go(func() { remove(r.life) })
	}()
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		resp, err := svc.Wait(life, &tasks.WaitRequest{ContainerID: id, ExecID: execID})
		ended <- end{int(resp.GetExitStatus()), native(err)}
	}()
	started, err := svc.Start(life, &tasks.StartRequest{ContainerID: id, ExecID: execID})
	if err != nil {
		return nil, 0, native(err)
	}
	read := pipes.read()
	limit := make(<-chan time.Time)
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		limit = t.C
	}
	select {
	case e := <-ended:
		return pipes.drain(read), e.code, e.err
	case <-limit:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	killtree.Kill(int(started.GetPid()))
	select {
	case <-ended:
	case <-time.After(execDrain):
		// It is stuck in the kernel; its end removes it.
	}
	return pipes.drain(read), 0, err
}

func newExecID() (string, error) {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("exec ID: %w", err)
	}
	return "sync-" + hex.EncodeToString(b[:]), nil
}

// execPipes carry the two outputs of a command.
type execPipes struct {
	dir   string
	files [2]*os.File
	// held: something still has them open although the command has ended.
	held bool
}

func newExecPipes(parent string) (*execPipes, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("output pipes: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "carob-exec-")
	if err != nil {
		return nil, fmt.Errorf("output pipes: %w", err)
	}
	p := &execPipes{dir: dir}
	for i := range p.files {
		if err = syscall.Mkfifo(p.path(i), 0o600); err == nil {
			p.files[i], err = os.OpenFile(p.path(i), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		}
		if err != nil {
			p.close()
			return nil, fmt.Errorf("output pipes: %w", err)
		}
	}
	return p, nil
}

func (p *execPipes) path(i int) string { return filepath.Join(p.dir, []string{"out", "err"}[i]) }

func (p *execPipes) close() {
	for _, f := range p.files {
		if f != nil {
			_ = f.Close()
		}
	}
	_ = os.RemoveAll(p.dir) // what is left goes with the next start
}

// read begins to read both outputs into one. The other side has to be open: a
// FIFO that nobody has opened for writing looks as if it had ended.
func (p *execPipes) read() <-chan []byte {
	chunks, late := make(chan []byte), make(chan bool, len(p.files))
	done := make(chan []byte, 1)
	for _, f := range p.files {
		go func() {
			buf := make([]byte, 4<<10)
			for {
				n, err := f.Read(buf)
				if n > 0 {
					chunks <- append([]byte(nil), buf[:n]...)
				}
				if err != nil {
					late <- errors.Is(err, os.ErrDeadlineExceeded)
					chunks <- nil
					return
				}
			}
		}()
	}
	go func() {
		var all []byte
		for open := len(p.files); open > 0; {
			c := <-chunks
			if c == nil {
				open--
			}
			all = append(all, c[:min(len(c), execOutput-len(all))]...)
		}
		for range p.files {
			p.held = <-late || p.held
		}
		done <- all
	}()
	return done
}

// drain returns what was written, and gives up on what is held open.
func (p *execPipes) drain(read <-chan []byte) []byte {
	deadline := time.Now().Add(execDrain)
	for _, f := range p.files {
		if err := f.SetReadDeadline(deadline); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			_ = f.Close()
		}
	}
	return <-read
}
