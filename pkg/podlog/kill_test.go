package podlog

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// childEnv makes the test binary a copier of the attempt its value names.
const childEnv = "CAROB_PODLOG_CHILD"

var killOptions = Options{MaxSize: 256 << 10, MaxFiles: 10000}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		child(strings.Split(spec, "\n"))
	}
	os.Exit(m.Run())
}

func child(paths []string) {
	all, err := New(killOptions)
	if err == nil {
		_, err = all.Start(neverDone{}, Attempt{Stdout: paths[0], Stderr: paths[1], Path: paths[2]})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

// neverDone is a context of a process that only a signal ends.
type neverDone struct{}

func (neverDone) Deadline() (time.Time, bool) { return time.Time{}, false }
func (neverDone) Done() <-chan struct{}       { return nil }
func (neverDone) Err() error                  { return nil }
func (neverDone) Value(any) any               { return nil }

// TestKilledAtAnyInstant kills a copying process again and again while both
// streams are written to. Nothing is lost and, as the file system keeps access
// times, nothing comes twice, not even where lines are alike.
func TestKilledAtAnyInstant(t *testing.T) {
	b := newBench(t, killOptions)
	const rounds = 40
	stop := make(chan struct{})
	var want [2]strings.Builder
	var writers sync.WaitGroup
	for i := range b.pipe {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				var text string
				switch rand.IntN(4) {
				case 0:
					text = "always the same\n"
				case 1:
					text = strings.Repeat("y", rand.IntN(3*MaxLine)) + "\n"
				default:
					text = fmt.Sprintf("line %d of %d\n", n, i)
				}
				want[i].WriteString(text)
				b.write(i, text)
				if rand.IntN(50) == 0 {
					time.Sleep(time.Millisecond) // let the pipe run empty
				}
			}
		})
	}
	for range rounds {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{b.a.Stdout, b.a.Stderr, b.a.Path}, "\n"))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Error("the child is not ready:", err)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond) // a random instant
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	}
	close(stop)
	c := b.start() // the writers may be waiting for it
	writers.Wait()
	b.finish(c)
	for i, s := range []Stream{Stdout, Stderr} {
		compare(t, s, b.read(ReadOptions{Stream: s}), want[i].String())
	}
}

func compare(t *testing.T, s Stream, got, want string) {
	t.Helper()
	t.Logf("%s: %d bytes, %d lines", s, len(want), strings.Count(want, "\n"))
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s: line %d of %d is %.60q, should be %.60q (%d got)", s, i, len(w), g[i], w[i], len(g))
		}
	}
	t.Fatalf("%s: %d lines, should be %d", s, len(g), len(w))
}
