package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Child is a private containerd that is kept running.
type Child struct {
	opts  LaunchOptions
	log   *zap.Logger
	pid   atomic.Int64
	life  context.Context
	end   context.CancelFunc
	ended chan struct{}
}

// Address is the socket to connect to.
func (c *Child) Address() string { return c.opts.Socket }

// PID is that of the present process, or 0 while there is none.
func (c *Child) PID() int { return int(c.pid.Load()) }

// Stop ends containerd: SIGTERM, and SIGKILL when that does not do. Shims and
// containers go on running, and the next containerd finds them. It returns
// when the process has ended, or with ctx.
func (c *Child) Stop(ctx context.Context) error {
	c.end()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop containerd: %w", ctx.Err())
	}
}

// supervise starts containerd again whenever it ends, until the Child's life
// does.
func (c *Child) supervise(p *process) {
	defer close(c.ended)
	delay := minRestart
	for {
		began := time.Now()
		if p != nil {
			c.pid.Store(int64(p.pid))
			select {
			case <-p.done:
				c.pid.Store(0)
			case <-c.life.Done():
				p.stop(stopTimeout)
				c.pid.Store(0)
				_ = os.Remove(c.opts.pidPath())
				return
			}
			c.log.Error("containerd ended; starting it again", zap.Int("pid", p.pid), zap.Duration("in", delay))
		}
		if time.Since(began) > steady {
			delay = minRestart
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-c.life.Done():
			timer.Stop()
			_ = os.Remove(c.opts.pidPath())
			return
		}
		delay = min(2*delay, maxRestart)
		var err error
		if p, err = c.start(); err != nil {
			c.log.Error("cannot start containerd", zap.Error(err))
		}
	}
}

// process is a containerd process, our child or an adopted one.
type process struct {
	pid  int
	done chan struct{}
	// signal reaches this very process, whatever becomes of its number.
	signal func(syscall.Signal) error
}

// stop ends the process and waits for its end.
func (p *process) stop(patience time.Duration) {
	_ = p.signal(unix.SIGTERM)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	_ = p.signal(unix.SIGKILL)
	<-p.done
}

// start starts containerd and writes its pid file.
func (c *Child) start() (*process, error) {
	out, err := openLog(c.opts.LogPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(c.opts.Binary, "--config", c.opts.configPath()) //nolint:gosec // the administrator's containerd
	cmd.Dir = c.opts.State
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(c.opts.Binary)+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A Ctrl-C in a terminal is for carob, which then stops containerd.
		Setpgid: true,
		// It must not outlive carob, not even a killed one: the next carob
		// would wait for its database. containerd survives a SIGKILL as well
		// as a power cut. Shims are no children of it and stay.
		Pdeathsig: unix.SIGKILL,
	}
	harvest(c.life, c.opts.State, c.opts.Socket, c.log)
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that started the child
		// ends, not when the process does. So that thread is kept for this
		// goroutine, which stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	p.signal = func(s syscall.Signal) error { return cmd.Process.Signal(s) }
	if err := os.WriteFile(c.opts.pidPath(), []byte(strconv.Itoa(p.pid)+"\n"), 0o600); err != nil {
		p.stop(stopTimeout)
		return nil, err
	}
	return p, nil
}

// openLog opens the log for appending; one that has grown large is first put
// aside.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // named by the administrator
}

// adopt watches a process that is not our child.
func adopt(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	p := &process{pid: pid, done: make(chan struct{})}
	var mu sync.Mutex
	closed := false
	p.signal = func(s syscall.Signal) error {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			return os.ErrProcessDone
		}
		return unix.PidfdSendSignal(fd, s, nil, 0)
	}
	go func() {
		defer close(p.done)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
		for {
			n, err := unix.Poll(fds, -1)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		mu.Lock()
		defer mu.Unlock()
		closed = true
		_ = unix.Close(fd)
	}()
	return p, nil
}

// RemoveTraces removes the empty directories that containerd's shims and runc
// make outside of the directories given to Launch. Call it when the private
// containerd has ended for good and no container is left; what another
// containerd uses is not empty and stays.
func RemoveTraces(namespace string) {
	const shared = "/run/containerd"
	for _, dir := range []string{"runc/" + namespace, "runc", "s", ""} {
		_ = os.Remove(filepath.Join(shared, dir))
	}
}

// ShimPIDs returns the shims that serve containers behind a containerd socket,
// in ascending order. It reads /proc and is for checks and tests.
func ShimPIDs(socket string) ([]int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range procs {
		data, err := os.ReadFile(path) //nolint:gosec // a kernel file
		if err != nil {
			continue
		}
		args := strings.Split(string(data), "\x00")
		if strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") && slices.Contains(args, socket) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err == nil {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return pids, nil
}
