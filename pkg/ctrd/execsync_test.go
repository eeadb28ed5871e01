package ctrd

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/carob-project/carob/internal/killtree"
	"github.com/carob-project/carob/pkg/pod"
)

func TestExec(t *testing.T) {
	b := newBench(t)
	r := NewCommands(b.ready(t), t.TempDir())
	req, _ := b.request(t, newUID(), "exec sleep 1000")
	req.Env = []pod.EnvVar{{Name: "GREETING", Value: "good morning"}}
	id := run(t, r.Runtime, req)
	sh := func(script string, timeout time.Duration) (string, int, error) {
		out, code, err := r.Exec(t.Context(), id, []string{"/bin/sh", "-c", script}, timeout)
		return string(out), code, err
	}
	out, code, err := sh(`echo "$GREETING"; echo no >&2; exit 3`, time.Minute)
	if err != nil || code != 3 || !strings.Contains(out, "good morning\n") || !strings.Contains(out, "no\n") {
		t.Errorf("%q %d %v", out, code, err)
	}
	// More than a pipe holds, and more than is kept.
	out, code, err = sh(`i=0; while [ $i -lt 5000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done`, 0)
	if err != nil || code != 0 || len(out) != execOutput {
		t.Errorf("%d bytes, %d %v", len(out), code, err)
	}
	// What a command leaves running holds nobody up, and lives on.
	began := time.Now()
	if _, code, err = sh(`sleep 1001 & echo done`, time.Minute); err != nil || code != 0 || time.Since(began) > 10*time.Second {
		t.Errorf("%d %v after %v", code, err, time.Since(began))
	}
	if !lives("sleep\x001001") {
		t.Error("what was left running is gone")
	}
	// With its time a command goes, and all that it started.
	_, _, err = sh(`sleep 1002 & (sleep 1003 & sleep 1004) & (setsid sleep 1005; true) & sleep 1006`, time.Second)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time-out: %v", err)
	}
	for _, n := range []string{"1002", "1003", "1004", "1005", "1006"} {
		eventually(t, "sleep "+n+" is gone", func() bool { return !lives("sleep\x00" + n) })
	}
	if _, _, err := r.Exec(t.Context(), id, []string{"/nowhere"}, time.Minute); err == nil {
		t.Error("a missing command was executed")
	}
	if _, _, err := r.Exec(t.Context(), "none", []string{"true"}, time.Minute); !errors.Is(err, pod.ErrNotFound) {
		t.Errorf("unknown attempt: %v", err)
	}
	if a, _ := attempt(t, r.Runtime, id); a.State != pod.AttemptRunning {
		t.Errorf("the attempt is %v", a.State)
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Exec(t.Context(), id, []string{"true"}, time.Minute); !errors.Is(err, pod.ErrNotFound) {
		t.Errorf("removed attempt: %v", err)
	}
}

// lives says whether a process with these arguments runs.
func lives(args string) bool {
	for _, p := range killtree.Processes() {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/cmdline")
		if err == nil && strings.HasPrefix(string(line), args+"\x00") {
			return true
		}
	}
	return false
}
