// Carob-init is the first process of a PID namespace whose own processes do not
// care for orphans. It runs a command, hands its signals on, reaps what others
// leave behind, and ends as the command does; or, told to hold, it runs none and
// keeps the namespace that the containers of a pod share. It must not know what
// a pod is, and stays small: one lies in the memory of every container with it.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

// Exit codes of a command that cannot be run, as shells have them.
const (
	codeUsage       = 2
	codeNotRunnable = 126
	codeNotFound    = 127
	// codeSignal is added to the number of the signal that ended a command.
	codeSignal = 128
)

// hold is the only argument of one that runs no command.
const hold = "--hold-the-processes-of-the-pod"

func main() {
	args := os.Args[1:]
	holding := len(args) == 1 && args[0] == hold
	if !holding {
		if len(args) < 2 || args[0] != "--" {
			say("usage: carob-init -- COMMAND [ARGUMENT...], or carob-init " + hold)
			os.Exit(codeUsage)
		}
		args = args[1:]
	}
	// Signals are listened to before anything can be sent because of the command.
	signals, children := make(chan os.Signal, 64), make(chan os.Signal, 1)
	signal.Notify(signals)
	signal.Notify(children, syscall.SIGCHLD)
	if holding {
		for {
			select {
			case <-signals:
				// Whoever may signal it from inside must not end the pod by that.
			case <-children:
				reap(0)
			}
		}
	}
	adopt()
	pid, code := start(args)
	if code != 0 {
		os.Exit(code)
	}
	for {
		select {
		case s := <-signals:
			pass(pid, s)
		case <-children:
			if status, ended := reap(pid); ended {
				os.Exit(status)
			}
		}
	}
}

// pass hands a signal on to the command. SIGCHLD is about this process, and so
// is SIGURG, which the Go runtime sends to itself.
func pass(pid int, s os.Signal) {
	if n, ok := s.(syscall.Signal); ok && n != syscall.SIGCHLD && n != syscall.SIGURG {
		// It may have ended just now.
		_ = syscall.Kill(pid, n)
	}
}

// reap buries all that have ended, and tells the exit code of the command once
// it is among them.
func reap(command int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid <= 0:
			return code, ended
		case pid != command:
			continue
		case status.Signaled():
			code, ended = codeSignal+int(status.Signal()), true
		default:
			code, ended = status.ExitStatus(), true
		}
	}
}

func say(text string) { _, _ = os.Stderr.WriteString("carob-init: " + text + "\n") }
