package podtest

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/pod"
)

// Subject is a runtime under test and what the suite needs beside it. Only
// Runtime, View, Images, Image and Sandbox are required.
type Subject struct {
	Runtime pod.Runtime
	View    pod.RuntimeView
	Images  pod.Images

	// Image is a reference that Images holds already or can pull. It must
	// have a busybox at /bin/busybox.
	Image string
	// Sandbox makes a sandbox the runtime can use for this pod and registers
	// its removal with t.Cleanup.
	Sandbox func(t *testing.T, p *corev1.Pod) pod.Sandbox
	// Pipes makes the pipes of one attempt and reads them until the test
	// ends. Nil: FIFOs in a temporary directory.
	Pipes func(t *testing.T) Pipes
	// Reopen returns a second runtime and view over the same state, as a
	// restarted agent has. Nil: those tests are skipped.
	Reopen func(t *testing.T) (pod.Runtime, pod.RuntimeView)
	// Wait bounds every wait for something that has to happen. Zero: 30 s.
	Wait time.Duration
}

// Pipes are the ends of an attempt's output.
type Pipes struct {
	Stdout, Stderr string
	// Output returns what has arrived so far.
	Output func() (stdout, stderr string)
}

// FIFOs makes two FIFOs in a temporary directory and reads them until the
// test ends.
func FIFOs(t *testing.T) Pipes {
	t.Helper()
	dir := t.TempDir()
	stdout, out := fifo(t, filepath.Join(dir, "stdout"))
	stderr, err := fifo(t, filepath.Join(dir, "stderr"))
	return Pipes{Stdout: stdout, Stderr: stderr, Output: func() (string, string) { return out.String(), err.String() }}
}

// fifo opens for reading and writing, so that neither end ever blocks and the
// reader sees no end of file when one writer closes.
func fifo(t *testing.T, path string) (string, *buffer) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &buffer{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		chunk := make([]byte, 4096)
		for {
			n, err := f.Read(chunk)
			b.write(chunk[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = f.Close()
		<-done
	})
	return path, b
}

type buffer struct {
	mu sync.Mutex
	s  strings.Builder
}

func (b *buffer) write(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s.String()
}
