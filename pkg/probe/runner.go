package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Execer executes commands in running containers.
type Execer interface {
	// Exec runs cmd in the attempt until it ends, and returns what it wrote
	// and its exit code. When the timeout is over (zero: there is none) the
	// command and all it started are killed, and the error wraps
	// context.DeadlineExceeded.
	Exec(ctx context.Context, attemptID string, cmd []string, timeout time.Duration) (output []byte, exitCode int, err error)
}

// Runner carries single probes and hooks out. It has no state and is safe for
// concurrent use.
type Runner struct {
	// Exec is required for commands; without it they cannot be carried out.
	Exec Execer
	// UserAgent is that of HTTP and gRPC requests.
	UserAgent string
}

// Target is a running container.
type Target struct {
	// AttemptID is the runtime's name of it.
	AttemptID string
	Container *corev1.Container
	// Host is the address of its pod.
	Host string
}

const (
	// outputLimit is how much of an answer is read.
	outputLimit = 10 << 10
	// messageLimit is how much of it is told.
	messageLimit = 1000
)

var errNoExec = errors.New("commands cannot be executed in containers here")

// Probe carries one probe out.
func (r Runner) Probe(ctx context.Context, p *corev1.Probe, t Target) Result {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	var res Result
	switch {
	case p.Exec != nil:
		res = r.execProbe(ctx, p.Exec.Command, t, timeout)
	case p.HTTPGet != nil:
		res = r.httpProbe(ctx, p.HTTPGet, t, timeout)
	case p.TCPSocket != nil:
		res = tcpProbe(ctx, p.TCPSocket, t, timeout)
	case p.GRPC != nil:
		res = r.grpcProbe(ctx, p.GRPC, t, timeout)
	default:
		res = Result{Unknown, "the probe has no handler"}
	}
	res.Output = cut(res.Output, messageLimit)
	return res
}

func (r Runner) execProbe(ctx context.Context, cmd []string, t Target, timeout time.Duration) Result {
	if r.Exec == nil {
		return Result{Unknown, errNoExec.Error()}
	}
	out, code, err := r.Exec.Exec(ctx, t.AttemptID, cmd, timeout)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Result{Failure, fmt.Sprintf("command timed out: %q timed out after %v", strings.Join(cmd, " "), timeout)}
	case err != nil:
		return Result{Unknown, err.Error()}
	case code != 0:
		return Result{Failure, string(out)}
	}
	return Result{Success, string(out)}
}

func tcpProbe(ctx context.Context, a *corev1.TCPSocketAction, t Target, timeout time.Duration) Result {
	addr, err := address(a.Host, a.Port, t)
	if err != nil {
		return Result{Unknown, err.Error()}
	}
	conn, err := dialer(timeout).DialContext(ctx, "tcp", addr)
	if err != nil {
		return Result{Failure, err.Error()}
	}
	_ = conn.Close() // nothing was sent
	return Result{Success, ""}
}

// dialer makes connections that leave no port in TIME_WAIT for long: a node
// probes many containers often.
func dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1})
		})
	}}
}

// address joins the host, that of the pod by default, and the port, which may
// be the name of one of the container's.
func address(host string, port intstr.IntOrString, t Target) (string, error) {
	if host == "" {
		host = t.Host
	}
	n, err := portNumber(port, t.Container)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}

var errPort = errors.New("invalid port")

func portNumber(port intstr.IntOrString, c *corev1.Container) (int, error) {
	n := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				n = int(p.ContainerPort)
			}
		}
	}
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("%w: container %s has no port %q", errPort, c.Name, port.String())
	}
	return n, nil
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
