package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const childEnv = "CAROB_ETCD_TEST_DIR"

// TestMain lets the test binary be the member that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		runChild(dir)
		return
	}
	os.Exit(m.Run())
}

func runChild(dir string) {
	s, err := Start(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		if _, err := c.Put(context.Background(), "/n", fmt.Sprint(i)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func client(t *testing.T, s *Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func start(t *testing.T, o Options) *Server {
	t.Helper()
	began := time.Now()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	t.Logf("ready after %s", time.Since(began).Round(time.Millisecond))
	return s
}

func TestWhatIsWrittenIsThereAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	s := start(t, Options{Dir: dir})
	if _, err := client(t, s).Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = start(t, Options{Dir: dir})
	r, err := client(t, s).Get(t.Context(), "/k")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Fatalf("got %v, %v", r, err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestNothingAcknowledgedIsLostByAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() && last != "200" {
		last = lines.Text()
		if strings.HasPrefix(last, "error") {
			t.Fatal(last)
		}
	}
	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("second member: got %v, want ErrInUse", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		last = lines.Text()
	}
	_ = cmd.Wait() // it was killed
	r, err := client(t, start(t, Options{Dir: dir})).Get(t.Context(), "/n")
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("got %v, %v", r, err)
	}
	var acked, found int
	_, _ = fmt.Sscan(last, &acked)
	_, _ = fmt.Sscan(string(r.Kvs[0].Value), &found)
	if found < acked {
		t.Errorf("found %d, acknowledged were %d", found, acked)
	}
}

func TestDamagedFilesGiveAnError(t *testing.T) {
	for _, name := range []string{"member/snap/db", "member/wal/0000000000000000-0000000000000000.wal"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "etcd")
			s := start(t, Options{Dir: dir})
			if _, err := client(t, s).Put(t.Context(), "/k", "v"); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("damage", 5000)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Start(t.Context(), Options{Dir: dir})
			if err == nil {
				s.Stop()
			}
			if !errors.Is(err, ErrStore) {
				t.Fatalf("got %v, want ErrStore", err)
			}
			t.Log(err)
		})
	}
}

func TestSocketPath(t *testing.T) {
	short, long := t.TempDir(), filepath.Join(t.TempDir(), strings.Repeat("x", 110))
	if got, err := socketPath(short, long); err != nil || got != filepath.Join(short, "etcd.sock") {
		t.Errorf("short: %s, %v", got, err)
	}
	if got, err := socketPath(long, short); err != nil || got != filepath.Join(short, "etcd", "s") {
		t.Errorf("long: %s, %v", got, err)
	}
	for _, run := range []string{"", long} {
		if _, err := socketPath(long, run); !errors.Is(err, ErrPathTooLong) {
			t.Errorf("both long: %v", err)
		}
	}
}

func TestGivenEndpointsStartNothing(t *testing.T) {
	s := start(t, Options{Endpoints: []string{"https://etcd:2379"}})
	if got := s.Endpoints(); len(got) != 1 || got[0] != "https://etcd:2379" {
		t.Errorf("got %v", got)
	}
}
