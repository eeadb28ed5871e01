package pod

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// The kernel's real-time signals, as containers know them.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// SignalNumber returns the number of a signal by its name in the API, such as
// SIGUSR1 or SIGRTMIN+3; ok is false where there is none.
func SignalNumber(name string) (sig syscall.Signal, ok bool) {
	if n := unix.SignalNum(name); n != 0 {
		return n, true
	}
	base, sign, text := sigRTMin, 1, ""
	switch {
	case name == "SIGRTMIN":
		return sigRTMin, true
	case name == "SIGRTMAX":
		return sigRTMax, true
	case strings.HasPrefix(name, "SIGRTMIN+"):
		text = strings.TrimPrefix(name, "SIGRTMIN+")
	case strings.HasPrefix(name, "SIGRTMAX-"):
		base, sign, text = sigRTMax, -1, strings.TrimPrefix(name, "SIGRTMAX-")
	default:
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if at := base + sign*n; err == nil && n > 0 && at > sigRTMin && at < sigRTMax {
		return syscall.Signal(at), true
	}
	return 0, false
}

// stopSignal is what asks an attempt of this container to end; c may be nil.
func stopSignal(c *corev1.Container) syscall.Signal {
	if c == nil || c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return syscall.SIGTERM
	}
	if sig, ok := SignalNumber(string(*c.Lifecycle.StopSignal)); ok {
		return sig
	}
	return syscall.SIGTERM
}
