package ctrd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

func TestOneShimForAPod(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	uid := newUID()
	first, _ := b.request(t, uid, "sleep 1000")
	sandbox := first.Sandbox
	ids := []string{run(t, r, first)}
	for i := range 3 {
		req, _ := b.request(t, uid, "sleep 1000")
		req.Container, req.Sandbox = fmt.Sprintf("c%d", i), sandbox
		ids = append(ids, run(t, r, req))
	}
	if shims := b.shims(t); len(shims) != 1 {
		t.Errorf("%d containers of one pod have %d shims, want 1", len(ids), len(shims))
	}
	nets := map[string]bool{}
	for _, id := range ids {
		a, _ := attempt(t, r, id)
		net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", a.PID))
		if err != nil {
			t.Fatal(err)
		}
		nets[net] = true
	}
	if len(nets) != 1 {
		t.Errorf("network namespaces of one pod: %v", nets)
	}
	for _, id := range ids {
		if err := r.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	b.checkNoTraces(t)
	if err := filepath.WalkDir(filepath.Join(b.dir, "state"), func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, string(uid)) {
			t.Errorf("left behind: %s", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// TestRestartsInOnePod makes and ends the pod's only container again and again:
// the shim goes with each end, and the next attempt must not meet it dying.
func TestRestartsInOnePod(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	uid := newUID()
	req, _ := b.request(t, uid, "exit 4")
	for i := range 15 {
		req.Number = i
		pipes := podtest.FIFOs(t)
		req.Stdout, req.Stderr = pipes.Stdout, pipes.Stderr
		id := run(t, r, req)
		if x := waitExit(t, r, id); x.Code != 4 || x.StartError != "" {
			t.Fatalf("attempt %d: %+v", i, x)
		}
		if i%2 == 1 {
			if err := r.Remove(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOOMKillIsReported(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "exec tail /dev/zero")
	req.Resources.MemoryLimit = 16 << 20
	x := waitExit(t, r, run(t, r, req))
	if !x.OOMKilled || x.Code != 137 {
		t.Errorf("exit = %+v, want an OOM kill with code 137", x)
	}
}

func TestProcessSeesWhatKubernetesPromises(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	const image = "docker.io/library/carob-user:1"
	img := buildImage(t, func(cf *v1.ConfigFile) {
		cf.Config.User = "app"
		cf.Config.WorkingDir = "/tmp"
		cf.Config.Entrypoint = []string{"/bin/sh", "-c"}
		cf.Config.Cmd = []string{"echo not this"}
	})
	if _, err := r.Import(t.Context(), archiveOf(t, image, img), nil); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "f"), []byte("mounted"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o755); err != nil {
		t.Fatal(err)
	}
	req, pipes := b.request(t, newUID(), "")
	req.ImageName = "carob-user:1"
	req.Command = nil
	req.Args = []string{`id; pwd; echo $HOSTNAME $HOME $FROM_IMAGE $A; cat /data/f; echo x > /data/g || echo readonly; grep -c . /proc/1/cmdline; grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status; ls /dev/shm /dev/mqueue -d; echo END`}
	req.Env = []pod.EnvVar{{Name: "A", Value: "1"}, {Name: "A", Value: "2"}}
	req.Mounts = []pod.Mount{{HostPath: data, ContainerPath: "/data", ReadOnly: true}}
	if x := waitExit(t, r, run(t, r, req)); x.Code != 0 {
		t.Errorf("exit %+v", x)
	}
	var out string
	eventually(t, "output", func() bool {
		out, _ = pipes.Output()
		return strings.Contains(out, "END")
	})
	for _, want := range []string{
		"uid=1234(app) gid=1235(app) groups=77(extra),1235(app)", "/tmp\n", "p /home/app yes 2\n",
		"mountedreadonly", "Seccomp:\t2", "NoNewPrivs:\t0", "/dev/shm\n", "/dev/mqueue\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	uid := newUID()
	req, pipes := b.request(t, uid, "sleep 1000 & sleep 1000")
	id := run(t, r, req)
	if len(containerCgroups(b.cgroup)) == 0 {
		t.Error("the container has no cgroup")
	}
	if err := r.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.checkNoTraces(t)
	sn, _, err := r.snapshots(r.scoped(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sn.Stat(r.scoped(t.Context()), id); native(err) == nil {
		t.Error("the snapshot is left")
	}
	for _, p := range []string{pipes.Stdout, pipes.Stderr} {
		if _, err := os.Stat(p); !os.IsNotExist(err) {
			t.Errorf("pipe %s: %v", p, err)
		}
	}
}

func TestCreateWithoutCommand(t *testing.T) {
	b := newBench(t)
	r := b.connect(t)
	const image = "docker.io/library/carob-empty:1"
	img := buildImage(t, func(cf *v1.ConfigFile) { cf.Config.Cmd = nil })
	if _, err := r.Import(t.Context(), archiveOf(t, image, img), nil); err != nil {
		t.Fatal(err)
	}
	req, _ := b.request(t, newUID(), "")
	req.ImageName, req.Command = image, nil
	if _, err := r.Create(t.Context(), req); !errors.Is(err, pod.ErrConfig) {
		t.Errorf("Create without a command = %v, want ErrConfig", err)
	}
}

// A start that is cut short ends the process that waited for it, with a code
// that the image's process did not choose.
func TestACutStartIsNoExit(t *testing.T) {
	for name, away := range map[string]bool{"containerd is there": false, "containerd is away": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			r := b.ready(t)
			req, _ := b.request(t, newUID(), "sleep 1000")
			made, err := r.Create(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := attempt(t, r, made)
			if !neverRan(r.opts.Namespace, made, 143) {
				t.Fatalf("created: %+v counts as one that ran", a)
			}
			// A start can be cut short after the process has passed it.
			if neverRan(r.opts.Namespace, made, 0) || neverRan(r.opts.Namespace, made, codeKilled) {
				t.Errorf("%+v counts as one that never ran, however it ended", a)
			}
			if away {
				pause(t, b.child.PID())
			}
			if err := syscall.Kill(a.PID, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if away {
				eventually(t, "its end", func() bool { return syscall.Kill(a.PID, 0) != nil })
				b.killContainerd(t)
			}
			eventually(t, "the attempt is gone", func() bool {
				list, err := r.List(t.Context())
				return err == nil && len(list) == 0
			})
			req.Command = []string{"/bin/sh", "-c", "exit 1"}
			id := run(t, r, req)
			if e := waitExit(t, r, id); id != made || e.Code != 1 || e.Lost {
				t.Errorf("after it: %s, %+v; want %s and code 1", id, e, made)
			}
		})
	}
}

func TestCleanUpRemovesWhatACrashLeft(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	ctx := r.scoped(t.Context())
	uid := newUID()
	runs := func() string {
		req, _ := b.request(t, uid, "sleep 1000")
		return run(t, r, req)
	}()
	// A record without a task, and a snapshot without a record.
	req, _ := b.request(t, newUID(), "sleep 1000")
	img, err := r.mustImage(ctx, testImage)
	if err != nil {
		t.Fatal(err)
	}
	half := ContainerID(req.Pod.UID, "c", 0)
	record, err := r.record(t.Context(), half, req, img, "", seLabels{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.containers().Create(ctx, record); err != nil {
		t.Fatal(err)
	}
	leased, _, err := r.lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sn, _, err := r.snapshots(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sn.Prepare(leased, "orphan", img.chainID, ourSnapshot(b.instance)); err != nil {
		t.Fatal(err)
	}
	again := b.connect(t)
	if a, ok := attempt(t, again, half); !ok || a.State != pod.AttemptExited || !a.Exit.Lost {
		t.Errorf("half made: %+v, %v; want exited and lost", a, ok)
	}
	if err := again.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := again.List(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != runs || all[0].State != pod.AttemptRunning {
		t.Errorf("after CleanUp: %+v, %v", all, err)
	}
	if _, err := sn.Stat(ctx, "orphan"); native(err) == nil {
		t.Error("the orphaned snapshot is left")
	}
	if l, err := r.client.LeasesService().List(ctx); err != nil || len(l) != 0 {
		t.Errorf("leases left: %v, %v", l, err)
	}
}

func TestInstancesDoNotSeeEachOther(t *testing.T) {
	b := newBench(t)
	r := b.ready(t)
	req, _ := b.request(t, newUID(), "sleep 1000")
	id := run(t, r, req)
	other := *b
	other.instance += "other"
	stranger := other.connect(t)
	if all, err := stranger.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("another instance sees %v, %v", all, err)
	}
	if err := stranger.CleanUp(t.Context()); err != nil {
		t.Error(err)
	}
	if err := stranger.RemoveInstance(t.Context(), true); err != nil {
		t.Error(err)
	}
	if a, _ := attempt(t, r, id); a.State != pod.AttemptRunning || syscall.Kill(a.PID, 0) != nil {
		t.Errorf("after the other's clean-up: %+v", a)
	}
	if err := stranger.RemoveImage(t.Context(), testImage); !errors.Is(err, ErrImageInUse) {
		t.Errorf("removing an image another instance uses = %v", err)
	}
}
