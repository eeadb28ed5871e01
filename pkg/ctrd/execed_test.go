package ctrd

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/carob-project/carob/pkg/pod"
)

func TestWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		cmdline, runtime string
		want             bool
	}{
		"runc waits":           {"runc\x00init\x00", "runc", true},
		"runc by its path":     {"/usr/sbin/runc\x00init\x00", "runc", true},
		"a program":            {"sleep\x001000\x00", "runc", false},
		"init as a program":    {"/sbin/init\x00", "runc", false},
		"runc as a program":    {"runc\x00run\x00x\x00", "runc", false},
		"crun waits":           {"/usr/bin/crun\x00--root\x00/r\x00create\x00x\x00", "crun", true},
		"a program under crun": {"sleep\x00", "crun", false},
		"nothing to be read":   {"", "runc", true},
		"no arguments":         {"\x00", "runc", true},
	} {
		if got := waits([]byte(tc.cmdline), tc.runtime); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAStartThatWasCutOffIsSeen starts a process behind the shim's back, as it
// is left by a killed containerd.
func TestAStartThatWasCutOffIsSeen(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "exec sleep 1000")
	id, err := r.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	// The runtime's fifo is all that holds the process back.
	fifo := filepath.Join(runtimeRoot, r.opts.Namespace, id, "exec.fifo")
	if out, err := exec.Command("cat", fifo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the process runs", func() bool {
		resp, err := r.client.TaskService().Get(r.scoped(t.Context()), &tasks.GetRequest{ContainerID: id})
		return err == nil && r.trueStatus(resp.Process) != resp.Process.Status
	})
	b.killContainerd(t)
	eventually(t, "the attempt is known to run", func() bool {
		a, ok := attempt(t, r, id)
		return ok && a.State == pod.AttemptRunning && !a.StartedAt.IsZero()
	})
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	if err := r.Start(ctx, id); err != nil {
		t.Errorf("start: %v", err)
	}
	if err := r.Remove(ctx, id); err != nil {
		t.Errorf("remove: %v", err)
	}
}
