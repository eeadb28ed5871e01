package ctrd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/carob-project/carob/pkg/pod"
)

// TestKilledWhileTasksAreMade kills containerd at many moments of the making of
// two containers of one pod, and makes them again each time.
func TestKilledWhileTasksAreMade(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	for round := range 5 {
		uid := newUID()
		reqs := make([]pod.CreateRequest, 2)
		for i := range reqs {
			reqs[i], _ = b.request(t, uid, "exec sleep 1000")
			reqs[i].Container, reqs[i].Sandbox = fmt.Sprintf("c%d", i), reqs[0].Sandbox
		}
		moment := time.NewTimer(time.Duration(round*20) * time.Millisecond)
		var making sync.WaitGroup
		for _, req := range reqs {
			making.Go(func() { _, _ = r.Create(t.Context(), req) })
		}
		<-moment.C
		b.killContainerd(t)
		making.Wait()
		for _, req := range reqs {
			var id string
			eventually(t, "the container can be made", func() bool {
				var err error
				id, err = r.Create(t.Context(), req)
				return err == nil
			})
			if err := r.Start(t.Context(), id); err != nil {
				t.Errorf("round %d: start: %v", round, err)
			}
		}
		eventually(t, "one shim has both", func() bool { return len(b.shims(t)) == 1 })
		for _, req := range reqs {
			if err := r.Remove(t.Context(), ContainerID(uid, req.Container, 0)); err != nil {
				t.Errorf("round %d: remove: %v", round, err)
			}
		}
		eventually(t, "the shim ends", func() bool { return len(b.shims(t)) == 0 })
	}
	left, err := filepath.Glob(filepath.Join(b.options().State, bundlesDir, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("bundles are left: %v %v", left, err)
	}
}

func TestClearsBundlesThatNoShimBegan(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, bundlesDir, "carob-test")
	for name, files := range map[string][]string{
		"never-begun":  {"config.json"},
		"shim-is-dead": {"config.json", "address", "runtime"},
		".half-gone":   {"config.json", "address", "runtime"},
	} {
		if err := os.MkdirAll(filepath.Join(dir, name, "rootfs"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			content := ""
			if f == "address" {
				content = "unix://" + filepath.Join(state, "nobody.sock")
			}
			if err := os.WriteFile(filepath.Join(dir, name, f), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	harvest(t.Context(), state, filepath.Join(state, "c.sock"), zaptest.NewLogger(t))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	// The one that a shim began is containerd's: only it knows how to end it.
	if !slices.Equal(names, []string{"shim-is-dead"}) {
		t.Errorf("left: %v", names)
	}
}

func TestClearBundleLeavesWhatIsBelowItsRoot(t *testing.T) {
	bundle := t.TempDir()
	kept := filepath.Join(bundle, "rootfs", "file")
	if err := errors.Join(os.Mkdir(filepath.Dir(kept), 0o700), os.WriteFile(kept, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := clearBundle(t.Context(), bundle, "carob-test", "none"); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestHalfMade(t *testing.T) {
	started := time.Unix(1, 0)
	for name, tc := range map[string]struct {
		attempt pod.Attempt
		want    bool
	}{
		"lives":                   {pod.Attempt{State: pod.AttemptCreated}, false},
		"lost before its start":   {pod.Attempt{State: pod.AttemptExited, Exit: &pod.Exit{Code: codeLost, Lost: true}}, true},
		"killed before its start": {pod.Attempt{State: pod.AttemptExited, Exit: &pod.Exit{Code: codeKilled}}, true},
		"out of memory":           {pod.Attempt{State: pod.AttemptExited, Exit: &pod.Exit{Code: codeKilled, OOMKilled: true}}, false},
		"ended by itself":         {pod.Attempt{State: pod.AttemptExited, Exit: &pod.Exit{}}, false},
		"could not be started":    {pod.Attempt{State: pod.AttemptExited, Exit: &pod.Exit{Code: codeStartError, StartError: "x"}}, false},
		"lost after its start":    {pod.Attempt{State: pod.AttemptExited, StartedAt: started, Exit: &pod.Exit{Lost: true}}, false},
	} {
		if got := halfMade(tc.attempt); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOneLeadsAPodsShim(t *testing.T) {
	var f firstShims
	end, other := f.lead("pod")
	if other != nil {
		t.Fatal("the first has to wait")
	}
	if _, free := f.lead("other"); free != nil {
		t.Error("another pod has to wait")
	}
	_, led := f.lead("pod")
	if led == nil {
		t.Fatal("the second leads too")
	}
	end()
	<-led
	if _, again := f.lead("pod"); again != nil {
		t.Error("the lead has not ended")
	}
}
