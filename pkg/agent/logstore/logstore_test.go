package logstore_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/carob-project/carob/pkg/agent"
	"github.com/carob-project/carob/pkg/agent/logstore"
	"github.com/carob-project/carob/pkg/agent/server"
	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/podlog"
)

var (
	_ agent.Logs       = (*logstore.Store)(nil)
	_ server.LogReader = (*logstore.Store)(nil)
)

func newStore(t *testing.T, dir string) *logstore.Store {
	t.Helper()
	c, err := podlog.New(podlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := logstore.New(logstore.Options{Copiers: c, PodsDir: filepath.Join(dir, "pods"), SandboxesDir: filepath.Join(dir, "sandboxes")})
	t.Cleanup(s.Close)
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *logstore.Store, k agent.LogKey) (string, error) {
	t.Helper()
	var b strings.Builder
	err := s.ReadLog(t.Context(), k.Pod, k.Container, k.Number, &corev1.PodLogOptions{}, &b)
	return b.String(), err
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	s := newStore(t, dir)
	k := agent.LogKey{Pod: pod.Ref{UID: "u1", Namespace: "default", Name: "a"}, Container: "app", Number: 2}
	if _, err := read(t, s, k); !errors.Is(err, pod.ErrNotFound) {
		t.Errorf("log of an unknown pod: %v", err)
	}
	stdout, stderr, err := s.Open(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := s.Open(t.Context(), k); err != nil || again != stdout {
		t.Errorf("second Open: %q, %v", again, err)
	}
	write(t, stdout, "one\ntwo\n")
	write(t, stderr, "bad\n")
	if err := s.Finish(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	got, err := read(t, s, k)
	if err != nil || !strings.Contains(got, "one\n") || !strings.Contains(got, "two\n") || !strings.Contains(got, "bad\n") {
		t.Errorf("log %q, %v", got, err)
	}
	if _, err := os.Stat(stdout); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pipe is still there: %v", err)
	}
	if err := s.Finish(t.Context(), k); err != nil {
		t.Errorf("second Finish: %v", err)
	}
	if err := s.Remove(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, s, k); got != "" || err != nil {
		t.Errorf("removed log: %q, %v", got, err)
	}
}

func TestRecoverKeepsWhatIsInThePipes(t *testing.T) {
	dir := t.TempDir()
	k := agent.LogKey{Pod: pod.Ref{UID: "u1"}, Container: "app"}
	old := newStore(t, dir)
	stdout, _, err := old.Open(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	// As a shim does, keep the pipe open while nobody copies.
	keep, err := os.OpenFile(stdout, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keep.Close() }()

	next := newStore(t, dir)
	write(t, stdout, "said while nobody listened\n")
	if err := next.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := next.Drop(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, next, k); err != nil || !strings.Contains(got, "said while nobody listened") {
		t.Errorf("log %q, %v", got, err)
	}
}

// The shim may open its side of a container's input after the client has said
// all it had to say.
func TestInputWaitsForItsReader(t *testing.T) {
	s := newStore(t, t.TempDir())
	k := agent.LogKey{Pod: pod.Ref{UID: "u1"}, Container: "app"}
	if _, _, err := s.Open(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	path, err := s.Stdin(k)
	if err != nil {
		t.Fatal(err)
	}
	in, err := s.OpenStdin(k)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan struct{})
	go func() {
		_, _ = io.WriteString(in, "words\n")
		_ = in.Close()
		close(said)
	}()
	select {
	case <-said:
		t.Error("the words were taken before anybody read them")
	case <-time.After(50 * time.Millisecond):
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || string(got) != "words\n" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = f.Close()

	// One that nobody reads lets go when the client leaves.
	unread, err := s.OpenStdin(k)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() {
		_, err := unread.Write(nil)
		left <- err
	}()
	_ = unread.Close()
	if err := <-left; err == nil {
		t.Error("a closed input takes more")
	}
}
