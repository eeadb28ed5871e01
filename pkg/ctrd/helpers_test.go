package ctrd

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/pod"
	"github.com/carob-project/carob/pkg/pod/podtest"
)

const (
	testImage = "docker.io/library/carob-test:1"
	testWait  = 30 * time.Second
)

// requireRoot fails a test that cannot be run, instead of skipping it: a suite
// that tests nothing must not look like one that passed.
func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test runs containers: run it as root (sudo make test)")
	}
	for what, path := range map[string]string{
		"containerd (apt-get install containerd)":           binaryUnderTest(),
		"runc (apt-get install runc)":                       "runc",
		"a static busybox (apt-get install busybox-static)": "/bin/busybox",
	} {
		if _, err := exec.LookPath(path); err != nil {
			t.Fatalf("this test needs %s: %v", what, err)
		}
	}
}

func binaryUnderTest() string {
	if b := os.Getenv("CAROB_TEST_CONTAINERD"); b != "" {
		return b
	}
	return "containerd"
}

var serial atomic.Int64

// bench is a private containerd and what a test needs beside it.
type bench struct {
	dir      string
	child    *Child
	instance string
	cgroup   string
	log      *zap.Logger
}

func newBench(t *testing.T) *bench {
	t.Helper()
	requireRoot(t)
	// Not t.TempDir: socket paths are short.
	dir, err := os.MkdirTemp("", "ctrd")
	if err != nil {
		t.Fatal(err)
	}
	tag := fmt.Sprintf("%x%x", os.Getpid(), serial.Add(1))
	b := &bench{dir: dir, instance: "test" + tag, cgroup: "/carob-test-" + tag, log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))}
	t.Cleanup(func() { b.cleanup(t) })
	b.launch(t)
	return b
}

func (b *bench) options() LaunchOptions {
	return LaunchOptions{
		Binary:  binaryUnderTest(),
		Root:    filepath.Join(b.dir, "root"),
		State:   filepath.Join(b.dir, "state"),
		Socket:  filepath.Join(b.dir, "state", "c.sock"),
		LogPath: filepath.Join(b.dir, "log"),
		Log:     b.log,
	}
}

func (b *bench) launch(t *testing.T) {
	t.Helper()
	child, err := Launch(context.Background(), b.options())
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	b.child = child
}

func (b *bench) connect(t *testing.T) *Runtime {
	t.Helper()
	r, err := Connect(context.Background(), Options{
		Address: b.child.Address(), Namespace: "carob-test", Instance: b.instance, StateDir: b.options().State,
		PipeDir: filepath.Join(b.dir, "pipes"), Log: b.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// ready is a connection with the test image imported.
func (b *bench) ready(t *testing.T) *Runtime {
	t.Helper()
	r := b.connect(t)
	if _, found, err := r.Present(t.Context(), testImage); err != nil {
		t.Fatal(err)
	} else if !found {
		if _, err := r.Import(t.Context(), archiveOf(t, testImage, buildImage(t, nil)), nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// cleanup ends everything and checks that nothing is left: shims, mounts,
// cgroups.
func (b *bench) cleanup(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if b.child != nil {
		r, err := Connect(ctx, Options{Address: b.child.Address(), Namespace: "carob-test", Instance: b.instance, ImagesOnly: true})
		if err == nil {
			if err := r.RemoveInstance(ctx, true); err != nil {
				t.Errorf("remove instance: %v", err)
			}
			_ = r.Close()
		}
		b.checkNoTraces(t)
		if err := b.child.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
		t.Logf("containerd's log:\n%s", log[max(0, len(log)-4000):])
	}
	removeCgroups(b.cgroup)
	if err := os.RemoveAll(b.dir); err != nil {
		t.Error(err)
	}
}

func (b *bench) checkNoTraces(t *testing.T) {
	t.Helper()
	eventually(t, "no shim is left", func() bool { return len(b.shims(t)) == 0 })
	eventually(t, "no mount is left", func() bool {
		mounts, err := os.ReadFile("/proc/self/mounts")
		return err == nil && !strings.Contains(string(mounts), b.dir)
	})
	eventually(t, "no cgroup of a container is left", func() bool { return len(containerCgroups(b.cgroup)) == 0 })
}

func (b *bench) shims(t *testing.T) []int {
	t.Helper()
	pids, err := ShimPIDs(b.child.Address())
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// sandbox is a pod's: namespaces held by a sleeping process.
func (b *bench) sandbox(t *testing.T, uid types.UID) pod.Sandbox {
	t.Helper()
	holder := exec.Command("/bin/busybox", "sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	ns := fmt.Sprintf("/proc/%d/ns/", holder.Process.Pid)
	return pod.Sandbox{
		Namespaces:   pod.Namespaces{Net: ns + "net", IPC: ns + "ipc", UTS: ns + "uts"},
		ShmPath:      t.TempDir(),
		CgroupParent: b.cgroup + "/pod" + string(uid),
	}
}

func newUID() types.UID {
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(time.Now().UnixNano()), serial.Add(1)))
}

// request is an attempt of container c that runs a shell command.
func (b *bench) request(t *testing.T, uid types.UID, script string) (pod.CreateRequest, podtest.Pipes) {
	t.Helper()
	pipes := podtest.FIFOs(t)
	return pod.CreateRequest{
		Pod:       pod.Ref{UID: uid, Namespace: "ns", Name: "p"},
		Container: "c",
		ImageName: testImage,
		Command:   []string{"/bin/sh", "-c", script},
		Sandbox:   b.sandbox(t, uid),
		Hostname:  "p",
		Stdout:    pipes.Stdout, Stderr: pipes.Stderr,
	}, pipes
}

func run(t *testing.T, r *Runtime, req pod.CreateRequest) string {
	t.Helper()
	id, err := r.Create(t.Context(), req)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := r.Start(t.Context(), id); err != nil {
		t.Fatalf("start: %v", err)
	}
	return id
}

func attempt(t *testing.T, r *Runtime, id string) (pod.Attempt, bool) {
	t.Helper()
	all, err := r.List(t.Context())
	if err != nil {
		return pod.Attempt{}, false
	}
	for _, a := range all {
		if a.ID == id {
			return a, true
		}
	}
	return pod.Attempt{}, false
}

func waitExit(t *testing.T, r *Runtime, id string) pod.Exit {
	t.Helper()
	var exit pod.Exit
	eventually(t, id+" has ended", func() bool {
		a, ok := attempt(t, r, id)
		if ok && a.State == pod.AttemptExited {
			exit = *a.Exit
			return true
		}
		return false
	})
	return exit
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(testWait)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not within %v: %s", testWait, what)
		}
	}
}

// buildImage makes an image of this machine's busybox.
func buildImage(t *testing.T, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "etc", "dev", "proc", "sys", "tmp"} {
		add(&tar.Header{Name: d + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, busybox)
	for _, l := range []string{"sh", "sleep", "cat", "echo", "id", "env", "pwd", "ls", "true", "grep", "tail", "readlink", "kill"} {
		add(&tar.Header{Name: "bin/" + l, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	add(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:app:/home/app:/bin/sh\n"))
	add(&tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:\napp:x:1235:\nextra:x:77:app\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", "amd64"
	cf.Config.Env = []string{"FROM_IMAGE=yes"}
	cf.Config.Cmd = []string{"/bin/sh", "-c", "echo default"}
	if change != nil {
		change(cf)
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	return img
}

// archiveOf is an image as `docker save` would write it.
func archiveOf(t *testing.T, ref string, img v1.Image) *bytes.Buffer {
	t.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := tarball.Write(tag, img, &buf); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// containerCgroups lists what is left two levels below a test's cgroup.
func containerCgroups(cgroup string) []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/*" + cgroup + "/*/*", "/sys/fs/cgroup" + cgroup + "/*/*"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			if info, err := os.Stat(f); err == nil && info.IsDir() {
				all = append(all, f)
			}
		}
	}
	return all
}

func removeCgroups(cgroup string) {
	for _, pattern := range []string{"/sys/fs/cgroup/*" + cgroup, "/sys/fs/cgroup" + cgroup} {
		tops, _ := filepath.Glob(pattern)
		for _, top := range tops {
			pods, _ := filepath.Glob(top + "/pod*")
			for _, p := range append(pods, top) {
				_ = os.Remove(p)
			}
		}
	}
}

func ourSnapshot(instance string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{labelInstance: instance})
}
