package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/carob-project/carob/pkg/cgroup"
	"github.com/carob-project/carob/pkg/cni"
	"github.com/carob-project/carob/pkg/pod"
)

// faultyNetwork fails where it is told to.
type faultyNetwork struct {
	*cni.Network
	attach, detach error
}

func (f *faultyNetwork) Attach(ctx context.Context, req cni.Request) (cni.Result, error) {
	res, err := f.Network.Attach(ctx, req)
	if f.attach != nil {
		return cni.Result{}, f.attach
	}
	return res, err
}

func (f *faultyNetwork) Detach(ctx context.Context, id string) error {
	if f.detach != nil {
		return f.detach
	}
	return f.Network.Detach(ctx, id)
}

// rig is a manager on the real kernel.
type rig struct {
	*Manager
	net     *faultyNetwork
	cgroups *cgroup.Manager
	run     string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	run := t.TempDir()
	info, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	info.Driver = cgroup.Cgroupfs
	cgroups, err := cgroup.New(info, fmt.Sprintf("/carob-sb%d", os.Getpid()), nil)
	if err != nil {
		t.Fatal(err)
	}
	network, err := cni.New(cni.Options{
		Name: "carob-sandbox", ConfDir: filepath.Join(run, "conf"), StateDir: filepath.Join(run, "cni"),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{net: &faultyNetwork{Network: network}, cgroups: cgroups, run: run}
	r.restart(t, "boot-1")
	before := machine(t, run)
	t.Cleanup(func() {
		r.net.attach, r.net.detach = nil, nil
		none := func(types.UID) bool { return false }
		if err := errors.Join(r.GC(context.Background(), none), network.Remove(context.Background()), cgroups.RemoveRoot(context.Background())); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if diff := cmp.Diff(before, machine(t, run)); diff != "" {
			t.Errorf("left behind (-before +after):\n%s", diff)
		}
		entries, err := os.ReadDir(filepath.Join(run, "sandboxes"))
		if err != nil || len(entries) != 0 {
			t.Errorf("left in the directory: %v %v", entries, err)
		}
	})
	return r
}

// restart replaces the manager, as a new process in the given boot would.
func (r *rig) restart(t *testing.T, boot string) {
	t.Helper()
	m, err := New(Options{
		Dir: filepath.Join(r.run, "sandboxes"), Network: r.net, Cgroups: r.cgroups,
		Hostname: func(p *corev1.Pod) (string, error) { return p.Name, nil }, BootID: boot,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Manager = m
}

// machine lists the mounts below a directory, bridges and cgroups.
func machine(t *testing.T, dir string) []string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			out = append(out, line)
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if !strings.HasPrefix(l.Name, "veth") { // gone with their namespace, in the kernel's time
			out = append(out, l.Name)
		}
	}
	groups, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/carob-sb%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		t.Fatal(err)
	}
	return append(append(out, groups...), string(rules))
}

func newPod(uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), Namespace: "default", Name: "name-" + uid},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name:  "c",
			Ports: []corev1.ContainerPort{{HostPort: 18300, ContainerPort: 80}},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("32Mi")},
			},
		}}},
	}
}

func mustCreate(t *testing.T, r *rig, p *corev1.Pod) *pod.Sandbox {
	t.Helper()
	s, err := r.Create(t.Context(), p)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return s
}

func mustAttach(t *testing.T, r *rig, p *corev1.Pod) string {
	t.Helper()
	ips, err := r.Attach(t.Context(), p)
	if err != nil || len(ips) != 1 {
		t.Fatalf("Attach: %v, %v", ips, err)
	}
	return ips[0]
}

// nsenter runs a command in the sandbox's namespaces.
func nsenter(t *testing.T, s *pod.Sandbox, args ...string) string {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + s.Namespaces.Net, "--ipc=" + s.Namespaces.IPC, "--uts=" + s.Namespaces.UTS}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestLifeOfASandbox(t *testing.T) {
	r := newRig(t)
	p := newPod("u1")
	if s, err := r.Get("u1"); s != nil || err != nil {
		t.Fatalf("Get before Create: %v, %v", s, err)
	}
	begin := time.Now()
	s := mustCreate(t, r, p)
	t.Logf("created in %s", time.Since(begin))
	if s.Stale || s.Attached || s.CgroupParent == "" {
		t.Errorf("created: %+v", s)
	}
	again := mustCreate(t, r, p)
	if diff := cmp.Diff(s, again, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("created again: %s", diff)
	}
	if got := nsenter(t, s, "hostname"); got != "name-u1" {
		t.Errorf("hostname %q", got)
	}
	if got := nsenter(t, s, "ip", "-br", "link", "show", "lo"); !strings.Contains(got, "LOOPBACK,UP") {
		t.Errorf("loopback: %s", got)
	}
	checkShm(t, s.ShmPath)

	ip := mustAttach(t, r, p)
	if again := mustAttach(t, r, p); again != ip {
		t.Errorf("attached again: %s, want %s", again, ip)
	}
	r.restart(t, "boot-1")
	got, err := r.Get("u1")
	if err != nil || got == nil || got.Stale || !got.Attached || len(got.IPs) != 1 || got.IPs[0] != ip {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	for range 2 {
		if err := r.Detach(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Get("u1"); err != nil || got.Attached || got.Stale {
		t.Errorf("detached: %+v, %v", got, err)
	}
	mustAttach(t, r, p)
	for range 2 {
		if err := r.Remove(t.Context(), "u1"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Get("u1"); got != nil || err != nil {
		t.Errorf("removed: %+v, %v", got, err)
	}
	if _, err := r.Attach(t.Context(), p); !errors.Is(err, pod.ErrNotFound) {
		t.Errorf("Attach without a sandbox: %v", err)
	}
}

func checkShm(t *testing.T, path string) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		t.Fatal(err)
	}
	const flags = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC
	if fs.Type != unix.TMPFS_MAGIC || fs.Blocks*uint64(fs.Bsize) != shmSize || fs.Flags&flags != flags {
		t.Errorf("shm: %+v", fs)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o777 || fi.Mode()&os.ModeSticky == 0 {
		t.Errorf("shm mode: %v, %v", fi.Mode(), err)
	}
}

// The namespaces of the test's own process are those of its start, whatever
// thread a Create ran on.
func TestProcessKeepsItsNamespaces(t *testing.T) {
	r := newRig(t)
	ns := func() string {
		var out []string
		for _, name := range namespaceFiles() {
			link, err := os.Readlink("/proc/self/ns/" + name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, link)
		}
		return strings.Join(out, " ")
	}
	before := ns()
	for i := range 10 {
		mustCreate(t, r, newPod(fmt.Sprintf("u%d", i)))
	}
	if after := ns(); after != before {
		t.Errorf("namespaces %s, were %s", after, before)
	}
}

// Whatever part of a sandbox is lost or half made, Get calls it stale, and
// Create makes a whole one of it, as Remove makes nothing of it.
func TestDamage(t *testing.T) {
	damage := map[string]func(t *testing.T, r *rig, dir string){
		"no record":     func(t *testing.T, _ *rig, dir string) { must(t, os.Remove(filepath.Join(dir, recordFile))) },
		"broken record": func(t *testing.T, _ *rig, dir string) { overwrite(t, dir, []byte(`{"uid":`)) },
		"empty record":  func(t *testing.T, _ *rig, dir string) { overwrite(t, dir, nil) },
		"another boot":  func(t *testing.T, r *rig, _ string) { r.restart(t, "boot-2") },
		"half made":     func(t *testing.T, _ *rig, dir string) { replace(t, dir, `"whole"`, `"making"`) },
		"half removed":  func(t *testing.T, _ *rig, dir string) { replace(t, dir, `"whole"`, `"removing"`) },
		"net unpinned":  func(t *testing.T, _ *rig, dir string) { must(t, unix.Unmount(filepath.Join(dir, netFile), 0)) },
		"shm unmounted": func(t *testing.T, _ *rig, dir string) { must(t, unix.Unmount(filepath.Join(dir, shmDir), 0)) },
		"after reboot": func(t *testing.T, r *rig, dir string) {
			must(t, unmountAll(dir))
			r.restart(t, "boot-2")
		},
		"other namespace": func(t *testing.T, _ *rig, dir string) {
			file := filepath.Join(dir, utsFile)
			must(t, unix.Unmount(file, 0))
			must(t, unix.Mount("/proc/self/ns/uts", file, "", unix.MS_BIND, ""))
		},
	}
	for name, harm := range damage {
		for _, attached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, attached %t", name, attached), func(t *testing.T) {
				r := newRig(t)
				p := newPod("u1")
				mustCreate(t, r, p)
				if attached {
					mustAttach(t, r, p)
				}
				harm(t, r, r.dir("u1"))
				if s, err := r.Get("u1"); err != nil || s == nil || !s.Stale {
					t.Errorf("Get: %+v, %v; want a stale one", s, err)
				}
				if uids, err := r.List(); err != nil || len(uids) != 1 {
					t.Errorf("List: %v, %v", uids, err)
				}
				if s := mustCreate(t, r, p); s.Stale || s.Attached {
					t.Errorf("made anew: %+v", s)
				}
				if attached {
					mustAttach(t, r, p)
				}
				harm(t, r, r.dir("u1"))
				must(t, r.Remove(t.Context(), "u1"))
			})
		}
	}
}

func TestFaults(t *testing.T) {
	r := newRig(t)
	p := newPod("u1")
	fault := errors.New("scripted failure")
	mustCreate(t, r, p)
	r.net.attach = fault
	if _, err := r.Attach(t.Context(), p); !errors.Is(err, fault) {
		t.Fatal(err)
	}
	if s, err := r.Get("u1"); err != nil || s.Attached || s.Stale {
		t.Errorf("after a failed Attach: %+v, %v", s, err)
	}
	r.net.attach = nil
	mustAttach(t, r, p)
	r.net.detach = fault
	if err := r.Remove(t.Context(), "u1"); !errors.Is(err, fault) {
		t.Fatal(err)
	}
	if s, err := r.Get("u1"); err != nil || s == nil || !s.Stale {
		t.Errorf("after a failed Remove: %+v, %v", s, err)
	}
	r.net.detach = nil
	must(t, r.Remove(t.Context(), "u1"))

	long := newPod("u2")
	long.Name = strings.Repeat("x", 65)
	if _, err := r.Create(t.Context(), long); err == nil {
		t.Error("a hostname that the kernel refuses is accepted")
	}
	if s, err := r.Get("u2"); s != nil || err != nil {
		t.Errorf("after a failed Create: %+v, %v", s, err)
	}
	bad := newPod("../u3")
	if _, err := r.Create(t.Context(), bad); err == nil {
		t.Error("a UID that leads out of the directory is accepted")
	}
}

func TestNamespacesOfTheNode(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct{ network, ipc bool }{{true, false}, {false, true}, {true, true}} {
		p := newPod(fmt.Sprintf("host-%v-%v", tc.network, tc.ipc))
		p.Spec.HostNetwork, p.Spec.HostIPC = tc.network, tc.ipc
		s, err := r.Create(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if (s.Namespaces.Net == "") != tc.network || (s.Namespaces.UTS == "") != tc.network {
			t.Errorf("network %v: %+v", tc.network, s.Namespaces)
		}
		if (s.Namespaces.IPC == "") != tc.ipc || (s.ShmPath == "") != tc.ipc || s.Stale {
			t.Errorf("ipc %v: %+v", tc.ipc, s)
		}
		if !tc.network {
			continue
		}
		if _, err := r.Attach(t.Context(), p); err != nil {
			t.Error(err)
		}
		if s, err := r.Get(p.UID); err != nil || !s.Attached || s.Stale {
			t.Errorf("%+v %v", s, err)
		}
		if err := r.Detach(t.Context(), p.UID); err != nil {
			t.Error(err)
		}
		if err := r.Remove(t.Context(), p.UID); err != nil {
			t.Error(err)
		}
	}
}

func TestGCKeepsTheWanted(t *testing.T) {
	r := newRig(t)
	keep, drop := newPod("keep"), newPod("drop")
	drop.Spec.Containers[0].Ports[0].HostPort = 18301
	for _, p := range []*corev1.Pod{keep, drop} {
		mustCreate(t, r, p)
		mustAttach(t, r, p)
	}
	must(t, os.Mkdir(r.dir("half-made"), 0o700))
	must(t, r.cgroups.EnsurePod(t.Context(), cgroup.PodName(cgroup.BestEffort, "nobody"), pod.Resources{}))
	must(t, r.GC(t.Context(), func(uid types.UID) bool { return uid == "keep" }))
	uids, err := r.List()
	if diff := cmp.Diff([]types.UID{"keep"}, uids); diff != "" || err != nil {
		t.Errorf("List: %v %s", err, diff)
	}
	groups, err := r.cgroups.Pods()
	if len(groups) != 1 || err != nil {
		t.Errorf("cgroups %v, %v", groups, err)
	}
	if s, err := r.Get("keep"); err != nil || s.Stale || !s.Attached {
		t.Errorf("the wanted one: %+v, %v", s, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, dir string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, recordFile), data, 0o600))
}

func replace(t *testing.T, dir, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	must(t, err)
	overwrite(t, dir, bytes.ReplaceAll(data, []byte(from), []byte(to)))
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"uid":"u1","bootID":"b","state":"whole","network":"attached","pins":{"net":"1:2"},"ips":["10.0.0.2"]}`))
	f.Add([]byte(`{"uid":"../x","bootID":"b","state":"whole"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if err == nil && (strings.ContainsRune(string(r.UID), '/') || r.State == "") {
			t.Errorf("accepted %+v", r)
		}
	})
}

// Another mount namespace that has copies of the mounts keeps nothing of a
// removed sandbox.
func TestOthersKeepNoMounts(t *testing.T) {
	r := newRig(t)
	mustCreate(t, r, newPod("u1"))
	other := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 1000")
	out, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	_, err = out.Read(make([]byte, 16))
	must(t, err)
	mounts := func() string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", other.Process.Pid))
		must(t, err)
		return string(data)
	}
	if n := strings.Count(mounts(), r.dir("u1")); n != 4 {
		t.Fatalf("%d mounts in the other namespace, want 4", n)
	}
	must(t, r.Remove(t.Context(), "u1"))
	if n := strings.Count(mounts(), r.dir("u1")); n != 0 {
		t.Errorf("%d mounts are left in the other namespace", n)
	}
}
