package podtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
)

// TestRuntime runs the contract of pod.Runtime, pod.RuntimeView and
// pod.Images. newRuntime is called once a test; what it makes is cleaned up
// with t.Cleanup.
func TestRuntime(t *testing.T, newRuntime func(t *testing.T) Subject) {
	for _, tc := range []struct {
		name string
		run  func(*suite)
	}{
		{"Images", (*suite).images},
		{"CreateIsIdempotent", (*suite).create},
		{"CreateAtTheSameTime", (*suite).createConcurrently},
		{"CreateNeedsImage", (*suite).createWithoutImage},
		{"StartIsIdempotent", (*suite).start},
		{"StartOfUnknown", (*suite).startUnknown},
		{"ExitCode", (*suite).exitCode},
		{"ExitOfManyAtOnce", (*suite).exitMany},
		{"StartError", (*suite).startError},
		{"SignalIsHandled", (*suite).signalHandled},
		{"SignalKills", (*suite).signalKills},
		{"SignalOfUnknown", (*suite).signalUnknown},
		{"RemoveOfRunning", (*suite).removeRunning},
		{"RemoveIsIdempotent", (*suite).removeTwice},
		{"AttemptsBesideEachOther", (*suite).attempts},
		{"Output", (*suite).output},
		{"WatchSeesTheEnd", (*suite).watch},
		{"WatchEnds", (*suite).watchEnds},
		{"ListAfterRestart", (*suite).restart},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newRuntime(t)
			if s.Pipes == nil {
				s.Pipes = FIFOs
			}
			if s.Wait == 0 {
				s.Wait = 30 * time.Second
			}
			tc.run(&suite{T: t, Subject: s})
		})
	}
}

// Commands of the suite. A fake interprets them; see Interpret.
var (
	cmdForever = []string{"/bin/busybox", "sleep", "1000"}
	cmdExit3   = []string{"/bin/busybox", "sh", "-c", "exit 3"}
	cmdTrue    = []string{"/bin/busybox", "true"}
	cmdTrap    = []string{"/bin/busybox", "sh", "-c", `trap "exit 7" TERM; echo ready; while :; do /bin/busybox sleep 0.05; done`}
	cmdEcho    = []string{"/bin/busybox", "sh", "-c", `echo "$GREETING"; echo oops >&2`}
	cmdMissing = []string{"/does/not/exist"}
)

type suite struct {
	*testing.T
	Subject
}

var serial atomic.Int64

// newPod returns a pod with a UID of its own, and one container c.
func (s *suite) newPod() *corev1.Pod {
	n := serial.Add(1)
	uid := fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(time.Now().UnixNano()), n)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "suite", Name: fmt.Sprintf("pod-%d", n), UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: s.Image}}},
	}
}

// ensureImage pulls the image where it is not there yet.
func (s *suite) ensureImage() pod.Image {
	s.Helper()
	img, found, err := s.Images.Present(s.Context(), s.Image)
	if err != nil {
		s.Fatal(err)
	}
	if found {
		return img
	}
	if img, err = s.Images.Pull(s.Context(), s.Image, pod.PullOptions{}); err != nil {
		s.Fatal(err)
	}
	return img
}

// bed is a pod with a sandbox to put attempts into.
type bed struct {
	pod     *corev1.Pod
	sandbox pod.Sandbox
}

func (s *suite) bed() bed {
	s.Helper()
	s.ensureImage()
	p := s.newPod()
	return bed{pod: p, sandbox: s.Sandbox(s.T, p)}
}

func (s *suite) request(b bed, number int, command []string) (pod.CreateRequest, Pipes) {
	s.Helper()
	pipes := s.Pipes(s.T)
	return pod.CreateRequest{
		Pod: pod.RefOf(b.pod), Container: "c", Number: number, Streak: number, SpecHash: "abc123",
		ImageName: s.Image, Command: command, Sandbox: b.sandbox, Hostname: b.pod.Name,
		Env:    []pod.EnvVar{{Name: "GREETING", Value: "hello there"}},
		Stdout: pipes.Stdout, Stderr: pipes.Stderr, OOMScoreAdj: 1000,
	}, pipes
}

// made creates an attempt and has it removed at the end.
func (s *suite) made(b bed, number int, command []string) (string, Pipes) {
	s.Helper()
	r, pipes := s.request(b, number, command)
	id, err := s.Runtime.Create(s.Context(), r)
	if err != nil {
		s.Fatalf("Create: %v", err)
	}
	s.cleanup(id)
	return id, pipes
}

func (s *suite) cleanup(id string) {
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.Wait)
		defer cancel()
		if err := s.Runtime.Remove(ctx, id); err != nil {
			s.Errorf("Remove at the end: %v", err)
		}
	})
}

func (s *suite) started(b bed, number int, command []string) (string, Pipes) {
	s.Helper()
	id, pipes := s.made(b, number, command)
	if err := s.Runtime.Start(s.Context(), id); err != nil {
		s.Fatalf("Start: %v", err)
	}
	return id, pipes
}

// list returns the attempts of one pod, and checks that both ways to see them
// show the same ones.
func (s *suite) list(v pod.RuntimeView, uid types.UID) []pod.Attempt {
	s.Helper()
	all, err := v.List(s.Context())
	if err != nil {
		s.Fatalf("List: %v", err)
	}
	var own []pod.Attempt
	for _, a := range all {
		if a.Pod.UID == uid {
			own = append(own, a)
		}
	}
	one, err := v.ListPod(s.Context(), uid)
	if err != nil {
		s.Fatalf("ListPod: %v", err)
	}
	same := slices.EqualFunc(own, one, func(a, b pod.Attempt) bool { return a.ID == b.ID })
	if !same {
		s.Errorf("List shows of the pod %+v, ListPod %+v", own, one)
	}
	return own
}

// only returns the one attempt of the pod.
func (s *suite) only(b bed) pod.Attempt {
	s.Helper()
	l := s.list(s.View, b.pod.UID)
	if len(l) != 1 {
		s.Fatalf("attempts: %d, want 1: %+v", len(l), l)
	}
	return l[0]
}

// until waits for a condition; what it waits for comes with the failure.
func (s *suite) until(what string, ok func() bool) {
	s.Helper()
	limit := time.NewTimer(s.Wait)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			s.Fatalf("not within %v: %s", s.Wait, what)
		}
	}
}

// exited waits for the end of an attempt and returns it.
func (s *suite) exited(b bed, id string) pod.Attempt {
	s.Helper()
	var found pod.Attempt
	s.until("attempt "+id+" has ended", func() bool {
		for _, a := range s.list(s.View, b.pod.UID) {
			if a.ID == id && a.State == pod.AttemptExited {
				found = a
				return true
			}
		}
		return false
	})
	if found.Exit == nil {
		s.Fatalf("an exited attempt without an exit: %+v", found)
	}
	return found
}

func (s *suite) signal(id string, sig syscall.Signal) {
	s.Helper()
	if err := s.Runtime.Signal(s.Context(), id, sig); err != nil {
		s.Fatalf("Signal %v: %v", sig, err)
	}
}

func (s *suite) waitOutput(p Pipes, want string) {
	s.Helper()
	s.until("output "+want, func() bool {
		out, _ := p.Output()
		return strings.Contains(out, want)
	})
}
